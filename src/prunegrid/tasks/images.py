"""A cheap look at every image before any compute, so that a broken file fails a cell at once and by name."""

import struct
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from prunegrid.tasks.base import Sample
from prunegrid.tasks.errors import TaskError

# Everything that Pillow's readers raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


def check_images(samples: Iterable[Sample], *, decode: bool = False) -> int:
    """Open every image of `samples` once and return how many files were seen.

    By default the header is read (and, for PNG, every checksum); `decode=True` decodes all pixels, which
    also finds a JPEG that was cut short. Raises one TaskError naming the first files that are missing or
    damaged and how many there are.
    """
    asked: dict[Path, str] = {}
    for sample in samples:
        for path in sample.images:
            asked.setdefault(path, sample.id)
    found = {path: _fault(path, decode) for path in asked}
    faults = [f"{path} (sample {asked[path]}): {fault}" for path, fault in found.items() if fault]
    if faults:
        more = f"\n  and {len(faults) - 5} more" if len(faults) > 5 else ""
        listed = "\n  ".join(faults[:5])
        raise TaskError(f"{len(faults)} of {len(asked)} images cannot be used:\n  {listed}{more}")
    return len(asked)


def _fault(path: Path, decode: bool) -> str | None:
    if not path.is_file():
        return "no such file"
    try:
        with Image.open(path) as image:
            if decode:
                image.load()
            else:
                image.verify()
    except _DAMAGE as error:
        return f"not readable as an image ({error or type(error).__name__})"
    return None
