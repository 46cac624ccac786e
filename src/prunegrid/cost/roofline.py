"""Counts to time: an operator takes the longer of its arithmetic at peak rate and its traffic at full width.

A lower bound, not a prediction: no launch costs, no kernel reaches both peaks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from prunegrid.cost.operators import Bits, Operator

KINDS = frozenset({"fp32", "fp16", "bf16", "int8"})


@dataclass(frozen=True)
class Hardware:
    """What a roofline needs to know of a machine (conf/hardware/*.yaml)."""

    name: str
    bandwidth: float  # bytes per second
    memory: float  # bytes
    peak: Mapping[str, float]  # operations per second by kind: fp32, fp16, bf16, int8

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Hardware":
        """Raises ValueError for missing, unknown and non-positive values, and where a kind of rate is missing that
        every model asks for."""
        known = {field.name for field in fields(Hardware)}
        if set(values) != known:
            raise ValueError(f"hardware needs exactly {sorted(known)}, not {sorted(values)}")
        given = {"bandwidth": values["bandwidth"], "memory": values["memory"], **values["peak"]}
        for what, rate in given.items():
            if isinstance(rate, bool) or not (isfinite(float(rate)) and float(rate) > 0):
                raise ValueError(f"{values['name']}: {what} must be a positive number, not {rate!r}")
        kinds = set(values["peak"])
        if not kinds <= KINDS or "fp32" not in kinds or not kinds & {"fp16", "bf16"}:
            raise ValueError(
                f"{values['name']}: peak needs fp32, and fp16 or bf16; int8 may be there; not {sorted(kinds)}"
            )
        peak = {kind: float(rate) for kind, rate in values["peak"].items()}
        return Hardware(values["name"], float(values["bandwidth"]), float(values["memory"]), peak)

    def peak_rate(self, bits: Bits) -> float:
        """Operations per second: the INT8 rate if nothing is wider than 8 bits, as in LLM-Viewer."""
        widest = max(bits.weights, bits.activations, bits.kv)
        kinds = ("int8",) if widest <= 8 else ("fp16", "bf16") if widest <= 16 else ("fp32",)
        for kind in kinds:
            if kind in self.peak:
                return self.peak[kind]
        raise ValueError(
            f"{self.name} has no rate for {' or '.join(kinds)}; it has {', '.join(sorted(self.peak))}"
        )

    def seconds(self, operator: Operator, bits: Bits) -> float:
        """One execution."""
        return max(operator.flops / self.peak_rate(bits), operator.moved / self.bandwidth)

    def bound(self, operator: Operator, bits: Bits) -> str:
        """What limits the operator: "compute" or "memory"."""
        arithmetic = operator.flops / self.peak_rate(bits)
        return "compute" if arithmetic >= operator.moved / self.bandwidth else "memory"
