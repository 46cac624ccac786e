"""LLaVA-1.5's processing: its pixels, its placeholders, its prompt."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from grid.project import ROOT
from prunegrid.checkpoints.processing import COLOUR, picture_processor, pieces, reference_pixels
from prunegrid.checkpoints.stand_in import stand_in
from prunegrid.grid.options import Options

SIZES = [(500, 333), (333, 500), (336, 336), (1, 50), (640, 479), (20, 21)]


def picture(width: int, height: int) -> Image.Image:
    draws = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(draws.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_llavas_own_pipeline(size: tuple[int, int]) -> None:
    made = picture_processor(336)(images=[picture(*size)], return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(made, reference_pixels(picture(*size), 336), atol=1e-6)


def test_the_reference_pads_with_the_mean_colour_and_floors_the_offset() -> None:
    """Against figures worked out by hand: a 2 x 1 picture stands in the upper row of its square."""
    assert COLOUR == (122, 116, 104)
    pixels = reference_pixels(Image.new("RGB", (2, 1), (255, 0, 0)), 2)
    red = [(1 - 0.48145466) / 0.26862954, (0 - 0.4578275) / 0.26130258, (0 - 0.40821073) / 0.27577711]
    mean = [(c / 255 - m) / s for c, m, s in zip(COLOUR, (0.48145466, 0.4578275, 0.40821073),
            (0.26862954, 0.26130258, 0.27577711), strict=True)]  # fmt: skip
    np.testing.assert_allclose(pixels[:, 0, 0], red, atol=1e-5)
    np.testing.assert_allclose(pixels[:, 1, 1], mean, atol=1e-5)


def test_cropping_would_be_seen() -> None:
    made = picture_processor(336)
    made.do_pad = False
    cropped = made(images=[picture(500, 333)], return_tensors="np")["pixel_values"][0]
    assert np.abs(cropped - reference_pixels(picture(500, 333), 336)).max() > 1


def test_the_conversation_is_vicuna_v1() -> None:
    options = Options.of(ROOT / "conf")
    names = [name for name in options.choices("model") if name != "mini"]
    assert len(names) >= 6
    for name in names:
        assert options.get("model", name, "here")["template"] == (
            "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the user's questions. USER: <image>\n{question} ASSISTANT:"
        )


def test_one_pass_gives_the_ids_of_pieces_tokenised_apart() -> None:
    made = stand_in(336, 14)
    prompt = "A chat. USER: <image>\nWhat colour is it?\nAnswer ASSISTANT:"
    ids = made(images=[picture(9, 9)], text=[prompt])["input_ids"][0]
    apart = pieces(made.tokenizer, prompt, 576, 32000)
    assert list(ids) == apart
    first, last = apart.index(32000), len(apart) - apart[::-1].index(32000)
    assert apart[:first] == made.tokenizer("A chat. USER: ")["input_ids"]
    assert apart[last:] == made.tokenizer("\nWhat colour is it?\nAnswer ASSISTANT:")["input_ids"][1:]
