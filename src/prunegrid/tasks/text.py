"""Answer normalisation of the VQA family: the "m4c" processor that LLaVA uses, and the VQA toolkit's.

Source: llava/eval/m4c_evaluator.py at c121f043; vqaEval.py of the VQA toolkit at a013f00.
"""

import re

from prunegrid.tasks.contractions import CONTRACTIONS

# Neither the period (own step) nor : ' & % # $ belong to it.
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
ARTICLES = frozenset({"a", "an", "the"})

_DIGIT_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
# Both originals pass a regex flag (value 32) where `re.sub` takes the number of replacements.
_PERIODS_REMOVED = 32


def m4c(text: str) -> str:
    """Normalise as LLaVA's TextVQA scorer and its VQAv2 and VizWiz upload converters do."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return vqa_official(text)


def vqa_official(text: str) -> str:
    """Normalise as the VQA toolkit does (it does so only where the reference answers disagree)."""
    return words(periods(punctuation(blanks(text))))


def blanks(text: str) -> str:
    """Newlines and tabs become spaces; the ends are stripped."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def punctuation(text: str) -> str:
    """Delete a mark that touches a space anywhere in the text, else put a space in its place.

    Every mark is deleted where the text has a comma between digits (m4c has removed commas before).
    """
    out = text
    for mark in PUNCTUATION:
        delete = f"{mark} " in text or f" {mark}" in text or _DIGIT_COMMA.search(text) is not None
        out = out.replace(mark, "" if delete else " ")
    return out


def periods(text: str) -> str:
    """Delete periods that no digit follows, at most the first 32 of them."""
    return _PERIOD.sub("", text, count=_PERIODS_REMOVED)


def words(text: str) -> str:
    """Lower-case; number words to digits, articles dropped, contractions given their apostrophe."""
    kept = [NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in kept if word not in ARTICLES)
