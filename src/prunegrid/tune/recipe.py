"""What one tuning trains with: the values of conf/tuning/<name>.yaml, and what follows from the step alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

KINDS = ("projector", "lora", "full")
STYLES = ("conversation", "plain")
DTYPES = ("float32", "bfloat16")  # float16 would need its loss scaled
WHOLE = ("batch", "micro", "epochs", "max_length", "rank")
ABOVE = ("rate", "clip", "alpha")
SHARES = ("warmup", "dropout", "faults")


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
        for name, allowed in (("kind", KINDS), ("style", STYLES), ("dtype", DTYPES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"tuning {name}={getattr(self, name)!r} must be one of {', '.join(allowed)}")
        for name in WHOLE:
            self._check(name, _whole(getattr(self, name)), "be a whole number above 0")
        self._check(
            "steps", self.steps is None or _whole(self.steps), "be at least 1, or null to count epochs"
        )
        for name in ABOVE:
            value = getattr(self, name)
            self._check(name, _number(value) and value > 0, "be above 0")
        own = self.projector_rate  # 0 would not freeze the projector: no recipe leaves it as it is
        self._check(
            "projector_rate", own is None or (_number(own) and own > 0), "be above 0, or null for `rate`"
        )
        for name in SHARES:
            value = getattr(self, name)
            self._check(name, _number(value) and 0 <= value <= 1, "lie in 0..1")
        self._check("decay", _number(self.decay) and self.decay >= 0, "be at least 0")
        weight = self.own_loss_weight
        self._check("own_loss_weight", _number(weight) and weight >= 0, "be at least 0 (0: without it)")
        if self.batch % self.micro:
            raise ValueError(f"tuning batch={self.batch} must be a multiple of micro={self.micro}")

    def _check(self, name: str, right: bool, must: str) -> None:
        if not right:
            raise ValueError(f"tuning {name}={getattr(self, name)!r} must {must}")

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


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: object) -> bool:
    """A count: 2.5 steps would be three."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
