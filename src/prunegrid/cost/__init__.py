"""Analytic cost: tokens per layer -> operations and bytes -> time on a named machine. Standard library only.

    from prunegrid.cost import Hardware, TokenSchedule, cost
    schedule = TokenSchedule.stated(llava15_7b(), prompt=64 + 60, projector=64)
    cost(llava15_7b(), schedule, hardware, bits=16, convention="exact").seconds("prefill")

Published cost tables beside our own figures: prunegrid.cost.tables.
"""

from prunegrid.cost.count import CONVENTIONS, Cost, cost, count, flops, kv_bytes
from prunegrid.cost.equivalent import equivalent_tokens, mean_tokens
from prunegrid.cost.operators import BITS, STAGES, Bits, Operator
from prunegrid.cost.roofline import Hardware
from prunegrid.cost.schedule import TokenSchedule, staircase
from prunegrid.cost.trace import cost_of_trace

__all__ = [
    "BITS",
    "CONVENTIONS",
    "STAGES",
    "Bits",
    "Cost",
    "Hardware",
    "Operator",
    "TokenSchedule",
    "cost",
    "cost_of_trace",
    "count",
    "equivalent_tokens",
    "flops",
    "kv_bytes",
    "mean_tokens",
    "staircase",
]
