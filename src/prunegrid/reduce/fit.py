"""Whether a method can act in a model of a given shape: all that can be said without running either."""

from __future__ import annotations

import torch

from prunegrid.reduce.places import Place, check_probe, resolve_layer
from prunegrid.reduce.reducer import Host, Reducer
from prunegrid.shape import ModelShape


def check_fits(method: Reducer, shape: ModelShape) -> None:
    """Raise ValueError where a method asks for a layer, a grid, a number of tokens or weights of its own that a model
    of this shape cannot give. No weight is allocated."""
    for site in method.sites(shape):
        inside = site.place in (Place.PROMPT, Place.CACHE)
        layers, tower = (shape.llm.layers, "LLM") if inside else (shape.vision.layers, "ViT")
        if site.layer is not None:
            own = resolve_layer(site.layer, layers, tower)
            if site.place == Place.VISION and own >= shape.vision.selected:
                raise ValueError(
                    f"a site at ViT layer {own} changes nothing: LLaVA reads layer {shape.vision.selected - 1}'s output"
                )
        check_probe(site, layers, tower)
    with torch.device("meta"):
        module = method.module(shape)
    method.start(Host(shape, module=module))
