"""The small tensor helpers, by hand."""

from __future__ import annotations

import torch

from prunegrid.reduce.ops import raster


def test_raster_puts_what_is_not_there_last() -> None:
    """Methods that act on ragged tokens count on it: a sample's own tokens come first."""
    keep = torch.tensor([[5, 0, 3, 1], [2, 7, 6, 4]])
    valid = torch.tensor([[True, False, True, True], [True, True, True, True]])
    order, real = raster(keep, valid)
    assert order.tolist() == [[1, 3, 5, 0], [2, 4, 6, 7]]
    assert real is not None and real.tolist() == [[True, True, True, False], [True] * 4]
    assert raster(keep)[0].tolist() == [[0, 1, 3, 5], [2, 4, 6, 7]] and raster(keep)[1] is None
