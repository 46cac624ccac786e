"""A tokenizer and processor with the sizes of LLaVA-1.5's, made without any download: 32,000 pieces, `<image>`, `<pad>`.

For random weights. Text is cut into pieces of at most three letters, so that a prompt has about as many tokens as a
prompt in Vicuna's own pieces; the ids themselves mean nothing. Bytes that no piece covers have a piece of their own.
"""

from __future__ import annotations

from itertools import product
from string import ascii_lowercase, ascii_uppercase

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from prunegrid.checkpoints.processing import IMAGE, processor

SIZE = 32000  # pieces; `<image>` and `<pad>` come behind them, as in HuggingFace's checkpoint
SPACE = "▁"
# Words of LLaVA-1.5's conversation and suffixes: one piece each, as most of them are for Vicuna.
FIXED = (
    "A a chat between curious user and an artificial intelligence assistant The gives helpful detailed polite answers "
    "to the questions USER ASSIST ANT Answer question using single word or phrase with option letter from given "
    "choices directly Please answer yes no What is in of on are there this image How many which color"
)
SPECIAL = ("<unk>", "<s>", "</s>")


def tokenizer(size: int = SIZE) -> PreTrainedTokenizerFast:
    """Deterministic, one BOS in front. Ids: `<unk>`, `<s>`, `</s>`, bytes, pieces; `<image>` is `size`, `<pad>` the next."""
    byte = [f"<0x{b:02X}>" for b in range(256)]
    letters = [SPACE, *ascii_lowercase, *ascii_uppercase, *"0123456789.,:;?!'\"()-"]
    words = (SPACE + word for word in FIXED.split())
    three = ("".join(t) for t in product([SPACE, *ascii_lowercase], ascii_lowercase, ascii_lowercase))
    two = ("".join(t) for t in product(letters, ascii_lowercase))
    known = list(dict.fromkeys([*SPECIAL, *byte, *letters, *words, *two, *three]))[:size]
    known += [f"<unused{n}>" for n in range(size - len(known))]
    # One score for all pieces: the cut with the fewest of them wins. Bytes are a last resort.
    pieces = [(piece, -100.0 if n < 3 + 256 else -1.0) for n, piece in enumerate(known)]
    made = Tokenizer(Unigram(pieces, unk_id=0, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    made.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", padding_side="left"
    )
    fast.add_special_tokens({"additional_special_tokens": [IMAGE]})
    fast.add_special_tokens({"pad_token": "<pad>"})
    return fast


def stand_in(image_size: int, patch: int, size: int = SIZE) -> LlavaProcessor:
    """LLaVA-1.5's processing around the stand-in tokenizer."""
    return processor(tokenizer(size), image_size, patch)
