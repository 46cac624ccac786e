"""Where a reducer acts, and what it asks to see there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Place(StrEnum):
    """The seven places of a LLaVA forward pass."""

    IMAGE = "image"  # pixels (`Reducer.edit`), or patch embeddings before ViT layer 0 (`Reducer.reduce`)
    VISION = "vision"  # output of ViT layer `layer` (`mid`: between its attention and its MLP)
    FEATURES = "features"  # selected ViT features, before the projector
    PROJECTOR = "projector"  # the projector itself: trained resamplers (`Reducer.module`)
    EMBEDS = "embeds"  # projected visual tokens, before the prompt is assembled
    PROMPT = "prompt"  # input of LLM layer `layer`, prefill
    CACHE = "cache"  # KV cache of LLM layer `layer`, after prefill and after every decode step


@dataclass(frozen=True)
class Probe:
    """What to record while the model runs; nothing is recorded that nobody asked for.

    `layers` are ViT layers at VISION to EMBEDS and LLM layers at PROMPT and CACHE; negative ones count from
    the end. They must have run when the site acts: VISION up to its own, PROMPT below its own, CACHE only
    its own. At PROMPT the layer that is about to run can be asked for the last token's row and its keys: they
    are formed ahead, from what enters it. `queries` are the rows of the attention to materialise; whole N x N
    matrices never are. "cls" in the ViT; in the language model the "last" token or all "text" after the image
    (while decoding: the newest token).
    """

    layers: tuple[int, ...]
    queries: Literal["cls", "last", "text"] | None = "cls"
    keys: bool = False
    values: bool = False


@dataclass(frozen=True)
class Site:
    """One point of action. VISION, PROMPT and CACHE need a `layer`; negative ones count from the end."""

    place: Place
    layer: int | None = None
    probe: Probe | None = None
    # PROMPT and CACHE: with "all" text tokens may go too; at PROMPT never the last one, which speaks next.
    scope: Literal["visual", "all"] = "visual"
    mid: bool = False  # VISION: between attention and MLP
    proportional: bool = False  # add log(size) to the attention logits of all later ViT layers (ToMe)
    positions: Literal["keep", "renumber"] = "keep"  # PROMPT: RoPE positions of the survivors
    picture: bool = False  # PROMPT: show the class token of the vision tower

    def __post_init__(self) -> None:
        needs_layer = self.place in (Place.VISION, Place.PROMPT, Place.CACHE)
        if needs_layer and self.layer is None:
            raise ValueError(f"a site at {self.place} needs a layer")
        if not needs_layer and self.layer is not None:
            raise ValueError(f"a site at {self.place} takes no layer, got {self.layer}")
        for option, used, places in (
            ("mid", self.mid, (Place.VISION,)),
            ("proportional", self.proportional, (Place.IMAGE, Place.VISION)),
            ("scope", self.scope != "visual", (Place.PROMPT, Place.CACHE)),
            ("positions", self.positions != "keep", (Place.PROMPT,)),
            ("picture", self.picture, (Place.PROMPT,)),
        ):
            if used and self.place not in places:
                raise ValueError(f"{option} means nothing at {self.place}, only at {' and '.join(places)}")


def resolve_layer(layer: int, count: int, what: str) -> int:
    """Negative layers count from the end; errors name the value and the range."""
    resolved = layer + count if layer < 0 else layer
    if not 0 <= resolved < count:
        raise ValueError(
            f"{what} layer {layer} does not exist: this model has {count} (0 to {count - 1}, or negative)"
        )
    return resolved


def check_probe(site: Site, layers: int, what: str) -> None:
    """Refuse a probe that can have recorded nothing, or nothing usable, when its site acts. `layers`: how
    many the site's tower (`what`) has."""
    if site.probe is None:
        return
    own = layers if site.layer is None else resolve_layer(site.layer, layers, what)
    readable = {
        Place.VISION: range(own + 1),
        Place.FEATURES: range(layers),
        Place.EMBEDS: range(layers),
        Place.PROMPT: range(own + 1),
        Place.CACHE: range(own, own + 1),
    }.get(site.place, range(0))
    for layer in site.probe.layers:
        if resolve_layer(layer, layers, what) not in readable:
            seen = f"{readable.start} to {readable.stop - 1}" if readable else "none"
            raise ValueError(
                f"a site at {_name(site)} cannot probe {what} layer {layer}; layers it can: {seen}"
            )
    ahead = site.place == Place.PROMPT and own in [resolve_layer(i, layers, what) for i in site.probe.layers]
    if ahead and (site.probe.queries != "last" or site.probe.values):
        raise ValueError(
            f"a site at {_name(site)} reads layer {own} before it has run: ask for queries='last', no values"
        )
    fitting = ("last", "text") if site.place in (Place.PROMPT, Place.CACHE) else ("cls",)
    if site.probe.queries not in (None, *fitting):
        use = ", ".join(map(repr, (*fitting, None)))
        raise ValueError(f"queries={site.probe.queries!r} do not exist at {_name(site)}; use one of {use}")


def _name(site: Site) -> str:
    return f"{site.place}" if site.layer is None else f"{site.place} {site.layer}"
