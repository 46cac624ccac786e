"""Counts to time: an operator takes the longer of its arithmetic at peak rate and its traffic at full width.

A lower bound, not a prediction: no launch costs, no kernel reaches both peaks.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from prunegrid.cost.operators import Bits, Operator


@dataclass(frozen=True)
class Hardware:
    """What a roofline needs to know of a machine (conf/hardware/*.yaml)."""

    name: str
    bandwidth: float  # bytes per second
    memory: float  # bytes
    peak: Mapping[str, float]  # operations per second by kind: fp32, fp16, bf16, int8

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Hardware":
        """Raises ValueError for missing, unknown or non-positive values."""
        known = {field.name for field in fields(Hardware)}
        if set(values) != known:
            raise ValueError(f"hardware needs exactly {sorted(known)}, not {sorted(values)}")
        peak = {kind: float(rate) for kind, rate in values["peak"].items()}
        hardware = Hardware(values["name"], float(values["bandwidth"]), float(values["memory"]), peak)
        if min(hardware.bandwidth, hardware.memory, *peak.values()) <= 0:
            raise ValueError(f"{hardware.name}: rates and memory must be positive")
        return hardware

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
