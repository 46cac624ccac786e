"""English contractions without apostrophe -> with it, as the VQA toolkit's answer normalisation knows them.

Built from stems and endings. Left out as in the original: forms that are words of their own (well, were,
shed, ill) and those of "I", which the original spells with a capital and so never finds in lower-case text.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

_ENDINGS = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were wo would",
    "'ve": "could might must not should they we what where who would you",
    "'s": "he how somebody someone that there what when where who why",
    "'d": "he how it someone something there they where who you",
    "'ll": "how it somebody someone something they what who why you",
    "'re": "there they what why you",
}
# two apostrophes: one or the other may be missing
_DOUBLE = {
    "n't've": "could had might should would",
    "'d've": "he it she somebody someone something there they we who you",
}
_SINGLE = {
    "maam": "ma'am",
    "oclock": "o'clock",
    "twas": "'twas",
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "somebody'd": "somebodyd",  # the wrong way round in the original
    "yall": "y'all",
    "yall'll": "y'all'll",
    "y'allll": "y'all'll",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
}


def _pairs() -> Iterator[tuple[str, str]]:
    for ending, stems in _ENDINGS.items():
        for stem in stems.split():
            yield stem + ending.replace("'", ""), stem + ending
    for ending, stems in _DOUBLE.items():
        first, last = ending.rsplit("'", 1)
        for stem in stems.split():
            yield f"{stem}{first.replace(chr(39), '')}'{last}", stem + ending
            yield f"{stem}{first}{last}", stem + ending
    yield from _SINGLE.items()


CONTRACTIONS: Mapping[str, str] = MappingProxyType(dict(_pairs()))
