"""Prompt templates: `{field}` is replaced by a field of the row, and nothing else is possible.

A prompt is everything that the user says after the image; the conversation template around it (system
sentence, `<image>` line, roles) belongs to the model.
"""

import string
from collections.abc import Mapping

from prunegrid.tasks.errors import TaskError


def render(template: str, fields: Mapping[str, object], where: str) -> str:
    """Fill `template` with `fields`; TaskError if it names what is not there or is more than a plain name."""
    pieces = []
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise TaskError(f"prompt {template!r}: {error}") from error
    for text, name, spec, conversion in parsed:
        pieces.append(text)
        if name is None:
            continue
        # str.format would also follow attributes and indices; a prompt needs neither
        if not name.isidentifier() or spec or conversion:
            raise TaskError(f"prompt {template!r}: {{{name}}} must be the plain name of a field")
        if name not in fields:
            raise TaskError(f"{where}: prompt wants {{{name}}}; there are {', '.join(sorted(fields))}")
        value = fields[name]
        if not isinstance(value, str):
            raise TaskError(f"{where}: prompt wants text in {{{name}}}, not {value!r}")
        pieces.append(value)
    return "".join(pieces)
