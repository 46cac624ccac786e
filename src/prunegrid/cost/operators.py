"""What is counted: one operator's arithmetic and traffic, for the work of one layer in one forward pass."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BITS = {"float32": 32, "float16": 16, "bfloat16": 16}  # of a number of each dtype
STAGES = ("vision", "reducer", "projector", "prefill", "decode")


@dataclass(frozen=True)
class Bits:
    """Bits per stored number."""

    weights: int = 16
    activations: int = 16
    kv: int = 16

    @staticmethod
    def of(bits: int) -> "Bits":
        """The same width everywhere: 16 is FP16 or BF16, 4 is W4A4KV4."""
        return Bits(bits, bits, bits)


@dataclass(frozen=True)
class Load:
    """What a layer works on in one forward pass, summed over the sequences of the batch."""

    tokens: int  # tokens entering the layer, each one query
    keys: int  # tokens attended to: the key-value cache with this pass's tokens
    pairs: int  # query-key pairs that are computed

    @staticmethod
    def full(counts: Iterable[int]) -> "Load":
        """Every token of a sequence attends to every other: a ViT, or a decoder whose mask saves nothing."""
        counts = list(counts)
        return Load(sum(counts), sum(counts), sum(n * n for n in counts))

    @staticmethod
    def causal(counts: Iterable[int]) -> "Load":
        """Every token attends to itself and to those before it."""
        counts = list(counts)
        return Load(sum(counts), sum(counts), sum(n * (n + 1) // 2 for n in counts))

    @staticmethod
    def step(keys: Iterable[int]) -> "Load":
        """One new token per sequence; keys: the tokens each attends to, itself included."""
        keys = list(keys)
        return Load(len(keys), sum(keys), sum(keys))


@dataclass(frozen=True)
class Operator:
    """One operator of one layer. All figures are for one execution; `times` says how many there are."""

    stage: str  # one of STAGES
    name: str
    flops: float  # in the unit of the convention: multiply-accumulates under "macs", else operations
    weights: float = 0.0  # bytes of weights loaded
    load: float = 0.0  # bytes of activations loaded
    store: float = 0.0  # bytes of activations stored
    load_kv: float = 0.0  # bytes of the key-value cache loaded
    store_kv: float = 0.0  # bytes of the key-value cache stored
    times: int = 1

    @property
    def moved(self) -> float:
        """Bytes moved to and from memory in one execution."""
        return self.weights + self.load + self.store + self.load_kv + self.store_kv


def distinct(columns: Sequence[Sequence[int]]) -> Counter[tuple[int, ...]]:
    """How often each column occurs: per-layer token counts of a batch, grouped, because most layers are
    alike.

    columns: one row per sequence, one entry per layer. Returns {(n of sequence 0, n of sequence 1, ...):
    layers}.
    """
    return Counter(zip(*columns, strict=True))
