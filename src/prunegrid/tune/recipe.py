"""What one tuning trains with: the values of conf/tuning/<name>.yaml, and what follows from the step alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

KINDS = ("projector", "lora", "full")
STYLES = ("conversation", "plain")


@dataclass(frozen=True)
class Recipe:
    """Settings of a tuning. Source: scripts/v1_5/{pretrain,finetune,finetune_lora}.sh of LLaVA at c121f043.

    kind: what is trained. projector: it alone; lora: adapters on every linear layer of the language model, and the
    projector whole; full: the language model and the projector. The vision tower never is.
    """

    kind: str
    rate: float  # peak learning rate
    fresh: bool = False  # the projector starts from random weights
    projector_rate: float | None = None  # of the projector and of a reducer's own weights; None: `rate`
    batch: int = 128  # conversations per step, on all devices together
    micro: int = 16  # conversations per forward pass: a batch is a sum over micro-batches
    epochs: int = 1
    steps: int | None = None  # instead of epochs
    warmup: float = 0.03  # share of the steps over which the rate rises
    decay: float = 0.0  # weight decay
    clip: float = 1.0  # longest gradient; transformers' default, which the scripts keep
    own_loss_weight: float = 0.001  # of the loss that a reducer brings for its own weights; 0: without it
    rank: int = 128  # LoRA
    alpha: int = 256
    dropout: float = 0.05
    style: str = (
        "conversation"  # conversation: the model's template | plain: the picture and its caption alone
    )
    group: bool = True  # batches of one modality, similar lengths side by side (group_by_modality_length)
    max_length: int = 2048  # tokens, the picture's included; longer conversations are cut
    dtype: str = "bfloat16"  # of frozen weights and of the arithmetic; what is trained is float32
    checkpointing: bool = (
        True  # run the decoder's layers again in backward instead of keeping their activations
    )
    faults: float = 0.01  # largest share of conversations that may be missing a picture, broken or too long

    def __post_init__(self) -> None:
        for name, value, allowed in (("kind", self.kind, KINDS), ("style", self.style, STYLES)):
            if value not in allowed:
                raise ValueError(f"tuning {name}={value!r} must be one of {', '.join(allowed)}")
        for name in ("rate", "batch", "micro", "epochs", "max_length", "clip", "rank"):
            if getattr(self, name) <= 0:
                raise ValueError(f"tuning {name}={getattr(self, name)!r} must be above 0")
        if self.own_loss_weight < 0:
            raise ValueError(
                f"tuning own_loss_weight={self.own_loss_weight} must be at least 0 (0: without it)"
            )
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"tuning steps={self.steps} must be at least 1, or null to count epochs")
        if self.batch % self.micro:
            raise ValueError(f"tuning batch={self.batch} must be a multiple of micro={self.micro}")

    @classmethod
    def of(cls, tuning: Mapping[str, Any]) -> Recipe:
        """From a resolved conf/tuning/<name>.yaml; what names data, reducer and the like is not for here."""
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in tuning.items() if k in known})

    def share(self, step: int, steps: int) -> float:
        """Of the peak rate at `step` (from 0) of `steps`: a linear warm-up, then half a cosine down to 0."""
        warm = math.ceil(self.warmup * steps)
        if step < warm:
            return step / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
