"""The closed formulas that papers print as "FLOPs". Arithmetic only: no bytes, so no meaningful memory time.

n tokens in a layer, d width, m MLP width, V vocabulary. All of them count the full (not causal) score matrix.
"""

from collections.abc import Iterator

from prunegrid.cost.operators import Bits, Load, Operator, distinct
from prunegrid.cost.schedule import TokenSchedule
from prunegrid.shape import ModelShape


def ivtp(shape: ModelShape, schedule: TokenSchedule, bits: Bits) -> Iterator[Operator]:
    """IVTP Tables 1-4 and 9: 2 operations per multiply-accumulate, output layer on all tokens, no projector.

    LLM: L [2 (4 d^2 + 3 d m) n + 4 n^2 d] + 2 d V n. ViT: per layer 8 d^2 n + 4 n^2 d + 4 d m n, and the
    patch embedding. The n of the output layer is the last layer's.
    """
    vision, llm = shape.vision, shape.llm
    d, m = vision.width, vision.ffn
    pixels = vision.channels * vision.patch_size**2
    yield Operator("vision", "patch_embed", 2 * pixels * d * schedule.patches(shape))
    for counts, layers in distinct(schedule.vision).items():
        load = Load.full(counts)
        yield Operator("vision", "linear", (8 * d * d + 4 * d * m) * load.tokens, times=layers)
        yield Operator("vision", "attention", 4 * load.pairs * d, times=layers)
    d, m = llm.width, llm.ffn
    for counts, layers in distinct(schedule.prompt).items():
        load = Load.full(counts)
        yield Operator("prefill", "linear", 2 * (4 * d * d + 3 * d * m) * load.tokens, times=layers)
        yield Operator("prefill", "attention", 4 * load.pairs * d, times=layers)
    yield Operator("prefill", "lm_head", 2 * d * llm.vocab * sum(row[-1] for row in schedule.prompt))


def macs(shape: ModelShape, schedule: TokenSchedule, bits: Bits) -> Iterator[Operator]:
    """SparseVLM's code: per LLM layer 4 n d^2 + 2 n^2 d + 3 n d m multiply-accumulates, and nothing else."""
    return _macs(shape, schedule, matrices=3)


def macs_fastv(shape: ModelShape, schedule: TokenSchedule, bits: Bits) -> Iterator[Operator]:
    """FastV's and DivPrune's formula: 2 n d m, which leaves out the third matrix of a gated MLP."""
    return _macs(shape, schedule, matrices=2)


def _macs(shape: ModelShape, schedule: TokenSchedule, matrices: int) -> Iterator[Operator]:
    d, m = shape.llm.width, shape.llm.ffn
    for counts, layers in distinct(schedule.prompt).items():
        load = Load.full(counts)
        yield Operator("prefill", "linear", (4 * d * d + matrices * d * m) * load.tokens, times=layers)
        yield Operator("prefill", "attention", 2 * load.pairs * d, times=layers)
