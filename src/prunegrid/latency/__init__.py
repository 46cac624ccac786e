"""Measured time and memory of a reduced call, phase by phase. Nothing here is modelled: see prunegrid.cost for that.

from prunegrid.latency import measure
measure(host, prepare, new_tokens=64, repeats=50, warmup=5)
"""

from prunegrid.latency.measure import measure, spread
from prunegrid.latency.phases import PHASES, Span, Watch
from prunegrid.latency.seen import kernels, machine
from prunegrid.latency.turns import NOISE, Quartiles, differences, in_turn, quotient

__all__ = [
    "NOISE",
    "PHASES",
    "Quartiles",
    "Span",
    "Watch",
    "differences",
    "in_turn",
    "kernels",
    "machine",
    "measure",
    "quotient",
    "spread",
]
