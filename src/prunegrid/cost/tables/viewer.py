"""LLM-Viewer's machines and its four printed quantities, for the two papers that used the tool."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prunegrid.cost.count import cost
from prunegrid.cost.roofline import Hardware
from prunegrid.cost.schedule import TokenSchedule
from prunegrid.shape import ModelShape

COLUMNS = ("FLOPs (T)", "Prefill time (ms)", "Total memory (GB)", "Storing activation (GB)")

# hardware_params.py at 472f71f: bytes/s, FP16 and INT8 operations/s. "nvidia_A100" is the 40 GB card.
_RATES: Mapping[str, tuple[float, float, float, float]] = MappingProxyType(
    {
        "V100": (900e9, 112e12, 62e12, 32e9),
        "A100": (1555e9, 312e12, 624e12, 40e9),
        "A100-80G": (2039e9, 312e12, 624e12, 80e9),
        "H100": (3072e9, 989.5e12, 1979e12, 80e9),
        "H100-PCIe": (2048e9, 756.5e12, 1513e12, 80e9),
        "A6000": (768e9, 154.8e12, 309.7e12, 48e9),
    }
)


@dataclass(frozen=True)
class Figures:
    """What LLM-Viewer reports for a prefill of one sequence, in the units of the tables."""

    flops: float  # 1e12 operations
    milliseconds: float
    moved: float  # GB moved, printed as "total memory"
    stored: float  # GB of activations written, summed over layers


def machine(name: str) -> Hardware:
    """A machine with LLM-Viewer's constants."""
    bandwidth, fp16, int8, memory = _RATES[name]
    return Hardware(name, bandwidth, memory, {"fp16": fp16, "int8": int8})


def prefill(shape: ModelShape, tokens: int, name: str, bits: int, convention: str = "llm_viewer") -> Figures:
    """LLM-Viewer's figures for `tokens` prompt tokens on machine `name`."""
    result = cost(shape, TokenSchedule.stated(shape, tokens), machine(name), bits, convention)
    totals = (result.total("flops") / 1e12, result.seconds() * 1e3)
    return Figures(*totals, result.total("moved") / 1e9, result.total("store") / 1e9)
