"""What a reduction method computes itself: counted from shapes and token counts, never measured.

The rule, for every method. Matrix products: 2 operations per multiply-add, biases apart. Element by element: one per
arithmetic operation that is done for each entry of tokens x width or of a score matrix, with the figures that
`prunegrid.cost` has for softmax, norms and activations; so are weighted sums of token vectors. Not counted:
comparisons, maxima, sorts, gathers, masks, look-ups, random numbers, and arithmetic on single scores of tokens. Counted
is what this code does for one sample alone, padding left out: where it multiplies more than the method needs, that
shows. Of ViT layers that run only after the features are taken what is read counts too, as `exact` leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prunegrid.reduce.places import resolve_layer
from prunegrid.shape import LLMShape, ModelShape, VisionShape

if TYPE_CHECKING:
    from prunegrid.reduce.view import PromptText

# Operations per element, as in prunegrid.cost.exact.
SOFTMAX, LAYER_NORM, RMS_NORM, ACTIVATION, ROPE = 5, 7, 4, 5, 3


@dataclass(frozen=True)
class Flops:
    """Operations for one sample: in matrix products, and element by element."""

    products: float = 0
    pointwise: float = 0

    def __add__(self, other: Flops) -> Flops:
        return Flops(self.products + other.products, self.pointwise + other.pointwise)

    def __mul__(self, times: float) -> Flops:
        return Flops(self.products * times, self.pointwise * times)

    @property
    def total(self) -> float:
        return self.products + self.pointwise


@dataclass(frozen=True)
class Seen:
    """Token counts of one sample, as its trace has them (see Trace), and its prompt."""

    vision: Sequence[int]  # entering each ViT layer, class token included
    mlp: Sequence[int]  # entering its MLP
    projector: int
    prompt: Sequence[int]  # entering each LLM layer, behind what acts at its input
    visual: Sequence[int]  # of these the visual ones
    cache: Sequence[int]  # held by each LLM layer at the end
    held: Sequence[int]  # and when prefill was over
    new: int = 1  # generated tokens
    notes: Mapping[str, float] = field(default_factory=dict)
    text: PromptText | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any], text: PromptText | None = None) -> Seen:
        """row: as `Trace.sample` gives it."""
        return cls(
            vision=row["vision"],
            mlp=row.get("vision_mlp") or row["vision"],
            projector=row["projector"],
            prompt=row["prompt"],
            visual=row["visual"],
            cache=row.get("cache") or row["prompt"],
            held=row.get("held") or row["prompt"],
            new=row.get("new_tokens") or 1,
            notes=row.get("notes") or {},
            text=text,
        )

    def features(self, shape: ModelShape) -> int:
        """Patches that leave the ViT."""
        return max(0, self.mlp[-1] - shape.vision.prefix)

    def reaching(self, layer: int) -> int:
        """Tokens that come to LLM layer `layer`, before what acts at its input."""
        return self.prompt[layer - 1] if layer else self.prompt[0]

    def keys(self, layer: int, step: int) -> int:
        """Tokens that the newest one attends to at decode step 1, 2, ..., itself included."""
        return min(self.held[layer] + step, self.cache[layer] + 1)


def product(rows: float, inner: float, columns: float) -> Flops:
    return Flops(2 * rows * inner * columns)


def linear(inputs: int, outputs: int, tokens: float, bias: bool = True) -> Flops:
    return Flops(2 * inputs * outputs * tokens, bias * outputs * tokens)


def each(operations: float, *sizes: float) -> Flops:
    """`operations` for every element of an array of these sizes."""
    for size in sizes:
        operations *= size
    return Flops(0, operations)


def unit(tokens: float, width: int) -> Flops:
    """Vectors to length 1: squares, their sum, the quotient."""
    return each(3, tokens, width)


def mixed(entries: float, width: int) -> Flops:
    """Sums of `entries` weighted token vectors."""
    return each(2, entries, width)


def rows(queries: float, keys: float, width: int, heads: int) -> Flops:
    """Rows of an attention matrix: scaled logits, softmax per head, one number per key and query over the heads."""
    return product(queries, width, keys) + each(SOFTMAX + 1, queries, keys, heads) + each(1, queries, width)


def pushed(tokens: float, width: int, heads: int) -> Flops:
    """One row through a layer's whole attention, head mean, which is computed block by block."""
    return rows(tokens, tokens, width, heads) + product(1, tokens, tokens)


def vit_rows(
    shape: VisionShape,
    seen: Seen,
    layer: int,
    queries: int | None = 1,
    values: bool = False,
    ran: bool = False,
) -> Flops:
    """Rows of a ViT layer's attention: the CLS's, or (queries None) all. Of a layer behind the features also what is
    read of it, unless it `ran` anyway: its norm, queries and keys, with `values` those too."""
    i = resolve_layer(layer, shape.layers, "ViT")
    tokens = seen.vision[i]
    asked = tokens if queries is None else queries
    made = rows(asked, tokens, shape.width, shape.heads)
    if ran or i < shape.selected:
        return made
    read = linear(shape.width, shape.width, asked + tokens * (1 + values))
    return made + each(LAYER_NORM, tokens, shape.width) + read


def class_token(shape: VisionShape, seen: Seen) -> Flops:
    """The CLS behind the ViT's last layer, as far as the features do not need it: of that layer all keys and values."""
    made, width, ffn = Flops(), shape.width, shape.ffn
    for i in range(shape.selected, shape.layers):
        n = seen.vision[i]
        if i < shape.layers - 1:
            made += transformer(width, ffn, shape.heads, n, n * n)
        else:
            alone = transformer(width, ffn, shape.heads, 1, n)
            made += alone + linear(width, width, 2 * (n - 1)) + each(LAYER_NORM, n - 1, width)
    return made


def llm_rows(shape: LLMShape, queries: float, keys: float) -> Flops:
    """Rows of an LLM layer's attention."""
    return rows(queries, keys, shape.heads * shape.head_dim, shape.heads)


def decoder_token(shape: LLMShape, keys: float) -> Flops:
    """One token through a decoder layer, looking at `keys` tokens, itself included."""
    width, queries, groups = shape.width, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    matrices = 2 * queries + 2 * groups + 3 * shape.ffn
    small = (2 * RMS_NORM + 2) * width + ROPE * (queries + groups) + ACTIVATION * shape.ffn
    return Flops(2 * width * matrices + 4 * keys * queries, small + SOFTMAX * keys * shape.heads)


def projected(shape: ModelShape, tokens: int) -> Flops:
    """Tokens through the model's projector."""
    inputs, outputs = shape.projector.inputs, shape.projector.outputs
    return (
        linear(inputs, outputs, tokens) + each(ACTIVATION, outputs, tokens) + linear(outputs, outputs, tokens)
    )


def transformer(width: int, ffn: int, heads: int, tokens: int, pairs: float) -> Flops:
    """One layer of an encoder with two norms and biases, its attention over `pairs` of tokens."""
    return (
        linear(width, width, 4 * tokens)
        + linear(width, ffn, tokens)
        + linear(ffn, width, tokens)
        + Flops(4 * pairs * width, SOFTMAX * pairs * heads)
        + each(2 * LAYER_NORM + 2, tokens, width)
        + each(ACTIVATION, tokens, ffn)
    )
