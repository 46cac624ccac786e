"""Budgets, layers and grids written as the papers do, carried over to the model at hand.

{of: 576, keep: 64}             64 of 576 tokens -> the same share of this model's tokens
{of: 24, side: 6}               6 of 24 per side -> the same share of this model's side
{of: 24, vision: 22}            layer 22 of 24 -> the layer at the same depth of the ViT (a list gives a list)
{of: 32, llm: [8, 16, 24]}      likewise in the language model
{like: NAME}                    as many tokens as the reducer NAME keeps on average in the same cell
At the shape that a figure was written for, scaling changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunegrid.grid.errors import GridError

SIZES: Mapping[str, str] = {"keep": "tokens", "side": "side", "vision": "vision_layers", "llm": "llm_layers"}


def rescale(value: Any, model: Mapping[str, Any], where: str) -> Any:
    """Replace a scaled figure by this model's; anything else is returned as it is. Raises GridError."""
    if not isinstance(value, Mapping):
        return value
    if set(value) == {"like"}:
        return dict(value)
    kinds = [k for k in SIZES if k in value]
    if len(kinds) != 1 or set(value) != {"of", kinds[0]}:
        raise GridError(
            f"{where}: {dict(value)} is no figure; write {{of: 576, keep: 64}}, {{of: 24, side: 6}}, "
            "{of: 24, vision: 22}, {of: 32, llm: 8} or {like: NAME}"
        )
    kind, here = kinds[0], model[SIZES[kinds[0]]]
    figure, of = value[kind], value["of"]
    if isinstance(figure, list | tuple):
        return [_one(f, of, here, where) for f in figure]
    return _one(figure, of, here, where)


def _one(figure: int, of: int, here: int, where: str) -> int:
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (figure, of))
    if not whole or not 0 < figure <= of:
        raise GridError(f"{where}: {figure!r} of {of!r} must be a whole number from 1 to {of!r}")
    return max(1, (2 * figure * here + of) // (2 * of))  # rounded half up, exactly
