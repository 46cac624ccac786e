"""How many patches are alive after each of several reductions inside the ViT.

The files of the methods name the sources: ToMe, CrossGET and IVTP's TopK drop the same number per layer (`linear`), the
stages of EViT and ATS keep the same share (`geometric`).
Cost: whole numbers on the host, no tensor. No sync.
"""

from __future__ import annotations

from collections.abc import Sequence

from prunegrid.reduce.places import resolve_layer
from prunegrid.shape import ModelShape


def linear(patches: int, keep: int, steps: int) -> list[int]:
    """A constant number fewer per step, rounded half up: 576 to 64 in 24 steps is 555, 533, 512, ..., 64."""
    return [
        (2 * (patches * steps - (patches - keep) * i) + steps) // (2 * steps) for i in range(1, steps + 1)
    ]


def geometric(patches: int, keep: int, steps: int) -> list[int]:
    """A constant share per step, rounded half up: 576 to 144 in 3 steps is 363, 229, 144."""
    return [int(patches * (keep / patches) ** (i / steps) + 0.5) for i in range(1, steps + 1)]


def capped(counts: Sequence[int], patches: int, who: str, limit: int = 2) -> list[int]:
    """The same schedule where no step may remove more than (n - limit + 2) // 2 of n: earlier steps take over what
    a later one cannot. limit=2: half (ToMe); 3: one less where n is even (CrossGET). Refuses what cannot be reached.
    """
    allowed = list(counts)
    for i in range(len(allowed) - 2, -1, -1):
        allowed[i] = min(allowed[i], _before(allowed[i + 1], limit))
    if allowed and patches > _before(allowed[0], limit):
        least = patches
        for _ in allowed:
            least -= max(0, (least - limit + 2) // 2)
        raise ValueError(
            f"{who}: {counts[-1]} of {patches} tokens are out of reach, as one step merges at most half of them; "
            f"{len(counts)} steps leave {least} to {patches}"
        )
    return allowed


def _before(after: int, limit: int) -> int:
    """The most tokens of which `after` can be left."""
    return 2 * after - limit + 2


def executed(shape: ModelShape) -> range:
    """The ViT layers that run before LLaVA reads the features: L0 to L22 of 24."""
    return range(shape.vision.selected)


def staged(shape: ModelShape, stages: int, layers: Sequence[int] | None, who: str) -> list[int]:
    """The layers named, or as many as there are stages at equal distances: 3 of 24 layers are L6, L12 and L18."""
    usable = executed(shape)
    if layers is not None:
        found = [resolve_layer(layer, shape.vision.layers, "ViT") for layer in layers]
    else:
        found = [shape.vision.layers * i // (stages + 1) for i in range(1, stages + 1)]
    if not found or sorted(set(found)) != found or found[-1] not in usable:
        raise ValueError(
            f"{who}: stages at ViT layers {found} must be different layers in ascending order, "
            f"from {usable.start} to {usable.stop - 1}: LLaVA reads the output of layer {usable.stop - 1}"
        )
    return found
