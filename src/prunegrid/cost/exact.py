"""What the model really computes: ViT, projector, causal attention with grouped keys, the true MLP width.

Matrix products exactly, at 2 operations per multiply-accumulate, biases included. Element-wise work by the
small counts below. Attention is one fused operator: scores are never written to memory. The output layer runs
on the last position only, as in generation. Left out: embedding look-ups and the norms outside the layers
(under 0.01 %). Padding is not counted: a schedule holds real tokens. What a reduction method computes itself is stated
by the method, by the same rule (prunegrid.reduce.flops), and added by the caller.
"""

from collections.abc import Iterator
from dataclasses import replace

from prunegrid.cost.operators import Bits, Load, Operator, distinct
from prunegrid.cost.schedule import TokenSchedule
from prunegrid.shape import LLMShape, ModelShape, VisionShape

# Operations per element. Softmax: maximum, subtract, exponential, sum, divide.
SOFTMAX = 5
LAYER_NORM = 7  # two statistics (3), centre, scale, weight, bias
RMS_NORM = 4  # square, sum, scale, weight
ADD = 1
GELU = 5  # x sigmoid(1.702 x): scale, exponential, add, divide, multiply; the tanh and erf forms are near it
GATED = 5  # SiLU (4) and the product with the other branch
ROPE = 3  # two products and a sum


def count(shape: ModelShape, schedule: TokenSchedule, bits: Bits) -> Iterator[Operator]:
    """All operators of one batch: ViT, projector, prefill, every decode step. The caller adds the reducer."""
    yield from _vision(shape, schedule, bits)
    yield from _projector(shape, sum(schedule.projector), bits)
    rows = len(schedule.prompt)
    for counts, layers in distinct(schedule.prompt).items():
        for operator in _decoder(shape.llm, Load.causal(counts), bits, "prefill"):
            yield replace(operator, times=layers)
    yield _linear("prefill", "lm_head", shape.llm.width, shape.llm.vocab, rows, bits, bias=False)
    for step in range(1, max(schedule.new_tokens, default=1)):
        for keys, layers in schedule.decode_keys(step).items():
            for operator in _decoder(shape.llm, Load.step(keys), bits, "decode"):
                yield replace(operator, times=layers)
        running = schedule.running(step)
        yield _linear("decode", "lm_head", shape.llm.width, shape.llm.vocab, running, bits, bias=False)


def _vision(shape: ModelShape, schedule: TokenSchedule, bits: Bits) -> Iterator[Operator]:
    """Patch embedding, then the layers that ran, on the tokens that were left."""
    if not schedule.vision:
        return
    vision = shape.vision
    pixels = vision.channels * vision.patch_size**2
    yield _linear("vision", "patch_embed", pixels, vision.width, schedule.patches(shape), bits, bias=False)
    pairs = [*schedule.vision, *schedule.vision_mlp]
    for counts, layers in distinct(pairs).items():
        images = len(schedule.vision)
        for operator in _vision_layer(vision, Load.full(counts[:images]), sum(counts[images:]), bits):
            yield replace(operator, times=layers)


def _vision_layer(vision: VisionShape, load: Load, mlp_tokens: int, bits: Bits) -> Iterator[Operator]:
    width, tokens = vision.width, load.tokens
    yield _pointwise("vision", "attn_norm", LAYER_NORM, width * tokens, bits)
    for name in ("q", "k", "v"):
        yield _linear("vision", name, width, width, tokens, bits)
    yield Operator(
        "vision",
        "attention",
        4 * load.pairs * width + SOFTMAX * load.pairs * vision.heads,
        load=3 * tokens * width * bits.activations / 8,
        store=tokens * width * bits.activations / 8,
    )
    yield _linear("vision", "out", width, width, tokens, bits)
    yield _pointwise("vision", "attn_add", ADD, width * tokens, bits, read=2)
    yield _pointwise("vision", "mlp_norm", LAYER_NORM, width * mlp_tokens, bits)
    yield _linear("vision", "fc1", width, vision.ffn, mlp_tokens, bits)
    yield _pointwise("vision", "mlp_act", GELU, vision.ffn * mlp_tokens, bits)
    yield _linear("vision", "fc2", vision.ffn, width, mlp_tokens, bits)
    yield _pointwise("vision", "mlp_add", ADD, width * mlp_tokens, bits, read=2)


def _projector(shape: ModelShape, tokens: int, bits: Bits) -> Iterator[Operator]:
    if not tokens:
        return
    inputs, outputs = shape.projector.inputs, shape.projector.outputs
    yield _linear("projector", "linear_1", inputs, outputs, tokens, bits)
    yield _pointwise("projector", "act", GELU, outputs * tokens, bits)
    yield _linear("projector", "linear_2", outputs, outputs, tokens, bits)


def _decoder(llm: LLMShape, load: Load, bits: Bits, stage: str) -> Iterator[Operator]:
    """One decoder layer, prefill or one decode step."""
    width, tokens = llm.width, load.tokens
    queries, groups = llm.heads * llm.head_dim, llm.kv_heads * llm.head_dim
    act, kv = bits.activations / 8, bits.kv / 8
    yield _pointwise(stage, "attn_norm", RMS_NORM, width * tokens, bits)
    yield _linear(stage, "q", width, queries, tokens, bits, bias=False)
    for name in ("k", "v"):
        operator = _linear(stage, name, width, groups, tokens, bits, bias=False)
        yield replace(operator, store=0.0, store_kv=groups * tokens * kv)
    yield _pointwise(stage, "rope", ROPE, (queries + groups) * tokens, bits)
    yield Operator(
        stage,
        "attention",
        4 * load.pairs * queries + SOFTMAX * load.pairs * llm.heads,
        load=tokens * queries * act,
        store=tokens * queries * act,
        load_kv=2 * load.keys * groups * kv,
    )
    yield _linear(stage, "out", queries, width, tokens, bits, bias=False)
    yield _pointwise(stage, "attn_add", ADD, width * tokens, bits, read=2)
    yield _pointwise(stage, "mlp_norm", RMS_NORM, width * tokens, bits)
    yield _linear(stage, "gate", width, llm.ffn, tokens, bits, bias=False)
    yield _linear(stage, "up", width, llm.ffn, tokens, bits, bias=False)
    yield _pointwise(stage, "mlp_act", GATED, llm.ffn * tokens, bits, read=2)
    yield _linear(stage, "down", llm.ffn, width, tokens, bits, bias=False)
    yield _pointwise(stage, "mlp_add", ADD, width * tokens, bits, read=2)


def _linear(
    stage: str, name: str, inputs: int, outputs: int, tokens: int, bits: Bits, *, bias: bool = True
) -> Operator:
    return Operator(
        stage,
        name,
        (2 * inputs + bias) * outputs * tokens,
        weights=(inputs + bias) * outputs * bits.weights / 8,
        load=inputs * tokens * bits.activations / 8,
        store=outputs * tokens * bits.activations / 8,
    )


def _pointwise(stage: str, name: str, operations: int, size: int, bits: Bits, *, read: int = 1) -> Operator:
    """`operations` per element of an output of `size` elements made from `read` inputs of that size."""
    act = bits.activations / 8
    return Operator(stage, name, operations * size, load=read * size * act, store=size * act)
