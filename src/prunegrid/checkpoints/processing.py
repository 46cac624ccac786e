"""LLaVA-1.5's processing, explicit: square padding with CLIP's mean colour, PIL, 576 placeholders.

Source: llava/mm_utils.py and llava/train/train.py at c121f043 (`image_aspect_ratio: pad`). HuggingFace's own checkpoint
of LLaVA-1.5 crops instead, which changes every picture that is no square.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from transformers import LlavaProcessor
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's
STD = (0.26862954, 0.26130258, 0.27577711)
COLOUR = tuple(int(255 * m) for m in MEAN)  # (122, 116, 104)
IMAGE = "<image>"


def picture_processor(size: int) -> LlavaImageProcessorPil:
    """RGB, padded to a square, `size` pixels per side (bicubic, antialiased), scaled and normalised as CLIP."""
    return LlavaImageProcessorPil(
        do_pad=True,
        do_resize=True,
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=list(MEAN),
        image_std=list(STD),
    )


def processor(tokenizer: Any, size: int, patch: int) -> LlavaProcessor:
    """The processor around `tokenizer`: every `<image>` becomes (size // patch) ** 2 placeholders.

    The class token counts as an additional image token that the strategy `default` takes off again.
    """
    return LlavaProcessor(
        image_processor=picture_processor(size),
        tokenizer=tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=None,
    )


def reference_pixels(picture: Image.Image, size: int) -> npt.NDArray[np.float32]:
    """[3, size, size] as LLaVA's own pipeline makes them, with PIL and numpy alone: what a processor is held against."""
    picture = picture.convert("RGB")
    side = max(picture.size)
    square = Image.new("RGB", (side, side), COLOUR)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    small = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    normal = (small - np.array(MEAN)) / np.array(STD)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32)


def pieces(tokenizer: Any, prompt: str, tokens: int, image: int) -> list[int]:
    """Token ids of `prompt` as LLaVA makes them: the text is cut at `<image>`, its pieces are tokenised apart (one BOS),
    and `tokens` copies of the id `image` stand between. What one pass over the whole text must equal."""
    ids: list[int] = []
    for number, text in enumerate(prompt.split(IMAGE)):
        part = list(tokenizer(text)["input_ids"])
        start = 1 if number and part[:1] == [tokenizer.bos_token_id] else 0
        ids += ([image] * tokens if number else []) + part[start:]
    return ids
