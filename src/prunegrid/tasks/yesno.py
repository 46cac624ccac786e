"""The strict reading of a yes/no answer, shared by the benchmarks that ask for one."""

import re

_WORD = re.compile(r"[a-z]+")


def strict_yes_no(text: str) -> str | None:
    """The first word if it is yes or no and the other one does not occur; None: no answer is stated."""
    found = _WORD.findall(text.lower())
    stated = {"yes", "no"}.intersection(found)
    return found[0] if len(stated) == 1 and found[0] in stated else None
