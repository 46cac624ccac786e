"""What a wrong baseline is looked for in, one thing after the other: prompt ids, pixels, features, first logits, text.

Each gate gives what can be compared with the same gate elsewhere (another machine, LLaVA's own code), and its own
complaints: what differs from an independent way to the same value. Order: EVAL's "per-sample gate order".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prunegrid.grid.cell import Cell
from prunegrid.tasks import Sample

GATES = ("prompt ids", "pixels", "features", "first logits", "text", "score")
PIXELS = 1e-5  # what may differ in normalised units: below one 255th of a grey level
CLOSE = {
    "float32": 1e-3,
    "float16": 2e-2,
    "bfloat16": 8e-2,
}  # relative, of features and logits on other kernels
SEEN = 8  # values that stand for a tensor, at even distances


class Bench:
    """A loaded Answerer, looked into: one question at a time."""

    def __init__(self, answerer: Any) -> None:
        self.cell: Cell = answerer.cell
        self.answerer, self.host = answerer, answerer.host
        self.model, self.processor = answerer.host.model, answerer.processor

    def look(self, sample: Sample) -> dict[str, dict[str, Any]]:
        """gate -> {value: JSON, wrong: [complaint]} of one question, alone in its batch."""
        import torch
        from PIL import Image

        prompt = self.cell.model["template"].format(question=sample.prompt)
        with Image.open(sample.images[0]) as opened:
            picture = opened.convert("RGB")
        pixels = self.processor(images=[picture], text=[prompt], return_tensors="pt")["pixel_values"]
        given = self.answerer.inputs([sample])
        with torch.no_grad():
            features = self.model.get_image_features(pixel_values=given["pixel_values"]).pooler_output[0]
            plain = self.model(**given).logits[0, -1].float()
            own = self.host.forward(given, ids=[sample.id])[0].logits[0, -1].float()
        return {
            "prompt ids": self._ids(given["input_ids"][0].tolist(), prompt),
            "pixels": self._pixels(pixels, picture),
            "features": self._features(features),
            "first logits": self._logits(own, plain),
        }

    def _ids(self, ids: Sequence[int], prompt: str) -> dict[str, Any]:
        from prunegrid.checkpoints.processing import pieces

        tokenizer, image = self.processor.tokenizer, self.model.config.image_token_id
        wrong = []
        count = sum(i == image for i in ids)
        if count != self.cell.model["tokens"]:
            wrong.append(f"{count} image tokens, not {self.cell.model['tokens']}")
        apart = pieces(tokenizer, prompt, self.cell.model["tokens"], image)
        if list(ids) != apart:
            at = next(
                (k for k, (a, b) in enumerate(zip(ids, apart, strict=False)) if a != b),
                min(len(ids), len(apart)),
            )
            wrong.append(
                f"token {at} is {ids[at : at + 1]}; cut at <image> and tokenised apart, as LLaVA does, {apart[at : at + 1]}"
            )
        return {"value": list(ids), "wrong": wrong}

    def _pixels(self, pixels: Any, picture: Any) -> dict[str, Any]:
        import numpy as np

        from prunegrid.checkpoints.processing import reference_pixels

        values, wrong = pixels[0].float().numpy(), []
        if self.cell.model["aspect"] == "pad":
            apart = float(np.abs(values - reference_pixels(picture, values.shape[-1])).max())
            if apart > PIXELS:
                wrong.append(f"up to {apart:.3g} away from LLaVA's own padding and resizing")
        return {"value": {"shape": list(values.shape), **_few(values)}, "wrong": wrong}

    def _features(self, features: Any) -> dict[str, Any]:
        values = features.float().cpu().numpy()
        wrong = []
        if values.shape[0] != self.cell.model["tokens"]:
            wrong.append(f"{values.shape[0]} features, not {self.cell.model['tokens']}")
        return {"value": {"shape": list(values.shape), **_few(values)}, "wrong": [*wrong, *_finite(values)]}

    def _logits(self, own: Any, plain: Any) -> dict[str, Any]:
        """The baseline must be the model that nobody touched; a reducer's logits have nothing to be held against."""
        best = own.topk(5)
        values, wrong = own.cpu().numpy(), []
        if self.cell.reducer["name"] == "none":
            apart = float((own - plain).abs().max() / plain.abs().max().clamp_min(1e-9))
            if apart > CLOSE.get(self.cell.model["dtype"], 1e-3):
                wrong.append(f"{apart:.3g} (relative) away from the model without this project's hooks")
        top = {
            "ids": best.indices.tolist(),
            "words": [self.processor.tokenizer.decode([i]) for i in best.indices.tolist()],
        }
        return {"value": {**top, "few": [float(v) for v in best.values]}, "wrong": [*wrong, *_finite(values)]}


def _few(values: Any) -> dict[str, Any]:
    flat = values.reshape(-1)
    step = max(1, len(flat) // SEEN)
    return {
        "few": [float(v) for v in flat[::step][:SEEN]],
        "mean": float(flat.mean()),
        "std": float(flat.std()),
    }


def _finite(values: Any) -> list[str]:
    import numpy as np

    bad = int((~np.isfinite(values)).sum())
    return [f"{bad} of {values.size} values are not finite"] if bad else []


def differing(gate: str, here: Any, there: Any, dtype: str) -> str | None:
    """How a gate's value differs from the same gate's elsewhere; None if it does not."""
    if gate in ("prompt ids", "text"):
        if here == there:
            return None
        if gate == "text":
            return f"{here!r}, expected {there!r}"
        at = next(
            (k for k, (a, b) in enumerate(zip(here, there, strict=False)) if a != b),
            min(len(here), len(there)),
        )
        return f"token {at} is {here[at : at + 3]}, expected {there[at : at + 3]} ({len(here)} and {len(there)} tokens)"
    if here.get("shape") != there.get("shape"):
        return f"shape {here.get('shape')}, expected {there.get('shape')}"
    if here.get("ids", [None])[0] != there.get("ids", [None])[0]:
        return f"first token {here['words'][0]!r}, expected {there['words'][0]!r}"
    close = PIXELS if gate == "pixels" else CLOSE.get(dtype, 1e-3)
    size = max(1.0, *(abs(v) for v in there["few"]))
    apart = max(abs(a - b) for a, b in zip(here["few"], there["few"], strict=True)) / size
    return f"values up to {apart:.3g} (relative) apart" if apart > close else None
