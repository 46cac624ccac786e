"""Conventions by name, and the cost of a schedule under one of them on one machine."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from prunegrid.cost import closed, exact, llm_viewer
from prunegrid.cost.operators import STAGES, Bits, Operator
from prunegrid.cost.roofline import Hardware
from prunegrid.cost.schedule import TokenSchedule
from prunegrid.shape import ModelShape

Convention = Callable[[ModelShape, TokenSchedule, Bits], Iterable[Operator]]

CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        "exact": exact.count,
        "llm_viewer": llm_viewer.count,
        "llm_viewer_old": llm_viewer.count_old,
        "ivtp": closed.ivtp,
        "macs": closed.macs,
        "macs_fastv": closed.macs_fastv,
    }
)

QUANTITIES = ("flops", "moved", "weights", "load", "store", "load_kv", "store_kv")


@dataclass(frozen=True)
class Cost:
    """Operators with the machine they are timed on. Totals are over one stage, or over all without one."""

    convention: str
    bits: Bits
    hardware: Hardware
    operators: tuple[Operator, ...]
    kv_bytes: float  # key-value cache after the last decode step

    def total(self, quantity: str, stage: str | None = None) -> float:
        """Sum of an Operator's field or `moved` (bytes) over all executions."""
        return sum(getattr(operator, quantity) * operator.times for operator in self.of(stage))

    def seconds(self, stage: str | None = None) -> float:
        """Roofline time."""
        return sum(self.hardware.seconds(op, self.bits) * op.times for op in self.of(stage))

    def of(self, stage: str | None) -> list[Operator]:
        """The operators of a stage. Raises ValueError for an unknown one."""
        if stage is not None and stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}; known: {', '.join(STAGES)}")
        return [operator for operator in self.operators if stage in (None, operator.stage)]

    def by_stage(self) -> dict[str, dict[str, float]]:
        """Totals of every quantity and the roofline seconds, by stage."""
        return _totals(self, lambda operator: operator.stage)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers by stage and operator. Bytes, operations, seconds."""
        named = _totals(self, lambda operator: (operator.stage, operator.name))
        stages: dict[str, dict[str, Any]] = {stage: dict(sums) for stage, sums in self.by_stage().items()}
        for (stage, name), sums in named.items():
            stages[stage].setdefault("operators", {})[name] = sums
        return {
            "convention": self.convention,
            "hardware": self.hardware.name,
            "bits": {"weights": self.bits.weights, "activations": self.bits.activations, "kv": self.bits.kv},
            "total": _totals(self, lambda operator: "total")["total"],
            "kv_bytes": self.kv_bytes,
            "stages": stages,
        }


def _totals(cost: Cost, key: Callable[[Operator], Any]) -> dict[Any, dict[str, float]]:
    sums: dict[Any, dict[str, float]] = {}
    for operator in cost.operators:
        group = sums.setdefault(key(operator), dict.fromkeys((*QUANTITIES, "seconds"), 0.0))
        for name in QUANTITIES:
            group[name] += getattr(operator, name) * operator.times
        group["seconds"] += cost.hardware.seconds(operator, cost.bits) * operator.times
    return sums


def count(
    shape: ModelShape, schedule: TokenSchedule, convention: str = "exact", bits: Bits | None = None
) -> list[Operator]:
    """All operators of one batch under a convention, without any machine.

    Raises ValueError for an unknown convention and for a schedule of another model.
    """
    if convention not in CONVENTIONS:
        close = difflib.get_close_matches(convention, CONVENTIONS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ValueError(f"unknown convention {convention!r}{hint}; known: {', '.join(CONVENTIONS)}")
    if any(len(row) != shape.llm.layers for row in schedule.prompt):
        raise ValueError(f"the schedule's prompts need the model's {shape.llm.layers} LLM layers")
    if any(len(row) > shape.vision.layers for row in schedule.vision):
        raise ValueError(f"the schedule has more than the model's {shape.vision.layers} ViT layers")
    return list(CONVENTIONS[convention](shape, schedule, bits or Bits()))


def flops(shape: ModelShape, schedule: TokenSchedule, convention: str, stage: str | None = None) -> float:
    """Arithmetic of one stage (or all) under a convention, in the convention's unit."""
    operators = count(shape, schedule, convention)
    return sum(op.flops * op.times for op in operators if stage in (None, op.stage))


def cost(
    shape: ModelShape,
    schedule: TokenSchedule,
    hardware: Hardware,
    bits: int | Bits = 16,
    convention: str = "exact",
    reducer_flops: float = 0.0,
) -> Cost:
    """Cost of one batch.

    reducer_flops: the reduction method's own arithmetic, counted under every convention's total if given; no
    published convention has it. Raises ValueError for an unknown convention and for a schedule of another
    model.
    """
    bits = Bits.of(bits) if isinstance(bits, int) else bits
    operators = count(shape, schedule, convention, bits)
    if reducer_flops:
        operators.append(Operator("reducer", "reducer", reducer_flops))
    return Cost(convention, bits, hardware, tuple(operators), kv_bytes(shape, schedule, bits))


def kv_bytes(shape: ModelShape, schedule: TokenSchedule, bits: Bits) -> float:
    """Keys and values in the caches of all layers and samples when the answers end."""
    cached = sum(map(sum, schedule.cache))
    return 2 * cached * shape.llm.kv_heads * shape.llm.head_dim * bits.kv / 8
