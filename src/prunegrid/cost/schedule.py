"""How many tokens each layer of each part of the model sees: all about a method that its cost depends on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prunegrid.shape import ModelShape

Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TokenSchedule:
    """Token counts of one batch that runs together (weights are read once for all of it).

    Images and samples need not be equally many: a video sample has one image per frame, a text sample none.
    """

    vision: Rows  # [images][executed ViT layers] tokens entering the layer, class token included
    vision_mlp: (
        Rows  # [images][executed ViT layers] tokens entering the layer's MLP; differs for ToMe and EViT
    )
    projector: tuple[int, ...]  # [images] tokens entering the projector
    prompt: Rows  # [samples][LLM layers] tokens entering the layer at prefill
    cache: Rows  # [samples][LLM layers] cached tokens after the last decode step
    new_tokens: tuple[int, ...]  # [samples] generated tokens; the first one comes from prefill
    held: Rows  # [samples][LLM layers] cached tokens when prefill is over
    embedded: tuple[int, ...] | None = None  # [images] patches that the ViT embeds; None: all

    def __post_init__(self) -> None:
        samples, images = len(self.prompt), len(self.vision)
        caches = {len(self.cache), len(self.held)}
        if not caches == {len(self.new_tokens)} == {samples}:
            counts = " and ".join(map(str, sorted(caches)))
            raise ValueError(f"{samples} prompts, {counts} caches, {len(self.new_tokens)} answers")
        embedded = images if self.embedded is None else len(self.embedded)
        if not len(self.vision_mlp) == len(self.projector) == embedded == images:
            raise ValueError(f"{images} images, {embedded} embedded, {len(self.projector)} at the projector")
        language = self.prompt + self.cache + self.held
        for name, rows in (("vision", self.vision + self.vision_mlp), ("prompt", language)):
            if len({len(row) for row in rows}) > 1:
                raise ValueError(f"{name}: all rows need the same number of layers")
        if any(new < 1 for new in self.new_tokens):
            raise ValueError("new_tokens must be at least 1: prefill already gives one")
        for prompt, held, cache, new in zip(self.prompt, self.held, self.cache, self.new_tokens, strict=True):
            if any(first > entered for entered, first in zip(prompt, held, strict=True)):
                raise ValueError("a cache longer than its prompt when prefill is over")
            if any(kept > first + new - 1 for first, kept in zip(held, cache, strict=True)):
                raise ValueError(f"a cache longer than the {new} generated tokens allow")

    @staticmethod
    def from_trace(trace: Mapping[str, Any]) -> "TokenSchedule":
        """Reads a trace: `vision`, `projector`, `prompt`, `held`, `cache`, `new_tokens` as in the fields above.

        `embedded` may be left out (all patches), `vision_mlp` too (as `vision`), `new_tokens` too (1 each), `held`
        too (nothing was evicted after prefill), `cache` too (nor later).
        """
        vision = _rows(trace["vision"])
        prompt = _rows(trace["prompt"])
        new = tuple(trace.get("new_tokens") or [1] * len(prompt))
        held = _rows(trace["held"]) if "held" in trace else prompt
        grown = tuple(tuple(n + more - 1 for n in row) for row, more in zip(held, new, strict=True))
        return TokenSchedule(
            vision=vision,
            vision_mlp=_rows(trace["vision_mlp"]) if "vision_mlp" in trace else vision,
            projector=tuple(trace["projector"]),
            prompt=prompt,
            cache=_rows(trace["cache"]) if "cache" in trace else grown,
            new_tokens=new,
            held=held,
            embedded=tuple(trace["embedded"]) if "embedded" in trace else None,
        )

    @staticmethod
    def stated(
        shape: ModelShape,
        prompt: int | Sequence[int],
        *,
        vision: int | Sequence[int] | None = None,
        projector: int | None = None,
        new_tokens: int = 1,
        batch: int = 1,
    ) -> "TokenSchedule":
        """A schedule said in words: `batch` equal samples with one image each.

        prompt: tokens (visual and text) entering the LLM, one number for all layers or one per layer. vision:
        tokens entering the ViT, class token included, likewise; default: all, in the layers LLaVA needs.
        projector: default: the visual tokens of the unreduced model.
        """
        layers = shape.vision.selected
        if vision is None:
            vision = shape.vision.tokens
        image = [vision] * layers if isinstance(vision, int) else list(vision)
        row = [prompt] * shape.llm.layers if isinstance(prompt, int) else list(prompt)
        if len(row) != shape.llm.layers:
            raise ValueError(f"{len(row)} prompt lengths for {shape.llm.layers} layers")
        entered = shape.visual_tokens if projector is None else projector
        return TokenSchedule.from_trace(
            {
                "vision": [image] * batch,
                "projector": [entered] * batch,
                "prompt": [row] * batch,
                "new_tokens": [new_tokens] * batch,
            }
        )

    def batches(self, size: int) -> "list[TokenSchedule]":
        """Splits into consecutive batches of at most `size` samples; each sample has equally many images."""
        samples = len(self.prompt)
        per_sample, rest = divmod(len(self.vision), samples)
        if rest:
            raise ValueError(f"{len(self.vision)} images do not divide among {samples} samples")
        parts = []
        for start in range(0, samples, size):
            chosen = slice(start, start + size)
            images = slice(start * per_sample, (start + size) * per_sample)
            parts.append(
                replace(
                    self,
                    vision=self.vision[images],
                    vision_mlp=self.vision_mlp[images],
                    projector=self.projector[images],
                    prompt=self.prompt[chosen],
                    cache=self.cache[chosen],
                    new_tokens=self.new_tokens[chosen],
                    held=self.held[chosen],
                    embedded=self.embedded and self.embedded[images],
                )
            )
        return parts

    def patches(self, shape: ModelShape) -> int:
        """Patches that the ViT embeds, of all images."""
        return shape.vision.patches * len(self.vision) if self.embedded is None else sum(self.embedded)

    def running(self, step: int) -> int:
        """Samples that still generate at decode step 1, 2, ..."""
        return sum(new > step for new in self.new_tokens)

    def decode_keys(self, step: int) -> Counter[tuple[int, ...]]:
        """Tokens that each running sample attends to at decode step 1, 2, ..., itself included. -> {keys:
        layers}.

        What prefill left and one more per step, until the cache has its final length: held at a budget (H2O,
        VTIP), it gives that budget and the new token itself.
        """
        running = [i for i, new in enumerate(self.new_tokens) if new > step]
        layers = range(len(self.prompt[0])) if running else range(0)
        return Counter(
            tuple(min(self.held[i][layer] + step, self.cache[i][layer] + 1) for i in running)
            for layer in layers
        )


def staircase(counts: Sequence[int], layers: Sequence[int], total: int) -> list[int]:
    """Tokens entering each of `total` layers: counts[0] from layer 0, counts[i + 1] from layer layers[i] on.

    PyramidDrop on 36 text tokens: staircase([612, 324, 180, 108], [8, 16, 24], 32).
    """
    if len(counts) != len(layers) + 1 or sorted(layers) != list(layers):
        raise ValueError(f"{len(counts)} counts need {len(counts) - 1} rising layers, not {list(layers)}")
    return [counts[sum(layer >= start for start in layers)] for layer in range(total)]


def _rows(rows: Sequence[Sequence[int]]) -> Rows:
    return tuple(tuple(row) for row in rows)
