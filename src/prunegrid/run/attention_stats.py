"""How the CLS of a model attends: is its tail long, and do its top patches lie on things?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from prunegrid.reduce import Place, Probe, Reducer, Reduction, Site, TokenView
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Watch(Reducer):
    """Reduces nothing; keeps the CLS row of one layer."""

    layer: int = -2
    seen: list[np.ndarray] = field(default_factory=list)  # filled by this one call's owner

    def sites(self, shape: ModelShape) -> Sequence[Site]:
        return (Site(Place.FEATURES, probe=Probe((self.layer,))),)

    def reduce(self, site: Site, view: TokenView, state: Any) -> Reduction | None:
        self.seen.append(view.attention(self.layer).mean(1).squeeze(1).cpu().numpy())
        return None


def attention_rows(
    model: Any, processor: Any, images: Sequence[Path], layer: int = -2, batch: int = 32
) -> np.ndarray:
    """[images, N] head-mean CLS attention of ViT layer `layer`, softmax over CLS and patches."""
    import torch
    from PIL import Image

    from prunegrid.reduce import ReducedVLM

    watch = Watch(layer)
    host = ReducedVLM(model, watch)
    for start in range(0, len(images), batch):
        part = [Image.open(p).convert("RGB") for p in images[start : start + batch]]
        inputs = processor(
            images=part, text=["USER: <image>\nWhat ASSISTANT:"] * len(part), return_tensors="pt"
        )
        with torch.no_grad():
            host.generate(inputs, max_new_tokens=1, do_sample=False)
    return np.concatenate(watch.seen)


def summary(attention: np.ndarray, on_thing: np.ndarray, top: float = 0.1) -> dict[str, float]:
    """attention [images, N] and on_thing bool [images, N] -> the figures of the tail, all per image and averaged."""
    count = max(1, round(top * attention.shape[1]))
    order = np.argsort(-attention, axis=1)
    held = np.take_along_axis(attention, order, 1)[:, :count].sum(1) / attention.sum(1)
    q1, q3 = np.percentile(attention, [25, 75], axis=1)
    outliers = (attention > (q3 + 1.5 * (q3 - q1))[:, None]).sum(1)
    hits = np.take_along_axis(on_thing, order, 1)
    return {
        "share_of_top_10_percent": float(held.mean()),
        "outliers_mean": float(outliers.mean()),
        "outliers_min": float(outliers.min()),
        "outliers_max": float(outliers.max()),
        "top_10_percent_on_things": float(hits[:, :count].mean()),
        "top_25_percent_on_things": float(hits[:, : attention.shape[1] // 4].mean()),
        "patches_on_things": float(on_thing.mean()),
    }
