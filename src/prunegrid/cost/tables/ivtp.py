"""What IVTP's TFLOPs count, method by method: token schedules under the `ivtp` convention, and the extras.

Found by arithmetic, from the unrounded figures of Table 9:
- V visual and T text tokens make V + T - 1 for every reduced method, as if the image placeholder were one of
  the T (575 tokens give the printed 7.772), but V + T for the unreduced model (14.998, printed 15.003).
- IVTP keeps one ratio at all twelve prunes, and each acts at the input of its group's top layer.
- The rollout is counted as written, as products of whole attention matrices (7.942 + 0.004 = 7.946).
- The ViT has the 23 layers that LLaVA needs; the counter behind their 0.361 is not known (ours: 0.366).
"""

from dataclasses import dataclass

from prunegrid.cost.count import flops
from prunegrid.cost.schedule import TokenSchedule
from prunegrid.shape import ModelShape

BUDGET = 64
# Kept at each of 8 prunes in the ViT and 4 in the LLM: 576, 480, ..., 133 | 111, 92, 77, 64.
RATIO = (BUDGET / 576) ** (1 / 12)
GROUP = 3  # layers
LLM_PRUNED = 12  # LLM layers within which IVTP prunes


@dataclass(frozen=True)
class Tera:
    """1e12 operations by part, the columns of Table 9."""

    vision: float
    llm: float
    extra: float = 0.0

    @property
    def total(self) -> float:
        return self.vision + self.llm + self.extra


def full(shape: ModelShape, text: int) -> Tera:
    """The unreduced model."""
    return _tera(shape, _whole_vision(shape), [576 + text] * shape.llm.layers)


def in_vision(shape: ModelShape, text: int) -> Tera:
    """Random, TopK, EViT, ToMe: the same number dropped at the input of every ViT layer."""
    layers = shape.vision.selected
    vision = [1 + 576 - round((576 - BUDGET) * (layer + 1) / layers) for layer in range(layers)]
    return _tera(shape, vision, _constant(shape, BUDGET, text))


def after_vision(shape: ModelShape, text: int, extra: float = 0.0, budget: int = BUDGET) -> Tera:
    """Pooling, Honeybee, Qwen-VL, LLaMA-VID: a whole ViT, then something that makes `budget` tokens."""
    return _tera(shape, _whole_vision(shape), _constant(shape, budget, text), extra)


def two_stage(shape: ModelShape, text: int, *, group: int = GROUP, rollout: bool = True) -> Tera:
    """IVTP: prunes in the ViT, then in the first LLM layers; `group` layers share one prune."""
    ratio = (BUDGET / 576) ** (group / (24 + LLM_PRUNED))
    stages = 24 // group
    vision = [1 + round(576 * ratio ** ((layer + 1) // group)) for layer in range(shape.vision.selected)]
    llm = [
        round(576 * ratio ** (stages + min(layer + 1, LLM_PRUNED) // group)) + text - 1
        for layer in range(shape.llm.layers)
    ]
    products = [0.0, 0.0]
    if rollout:
        products = [_rollout(vision, group), _rollout(llm[:LLM_PRUNED], group)]
    counted = _tera(shape, vision, llm, clip_text(windows=6))
    return Tera(counted.vision + products[0], counted.llm + products[1], counted.extra)


def clip_text(windows: int) -> float:
    """CLIP's text tower (12 layers of width 768) on windows of 77 tokens; 6 give the printed 0.080."""
    return windows * _encoder(77) / 1e12


def bert_text(tokens: int = 256) -> float:
    """LLaMA-VID's text encoder, BERT-base, on its 256-token limit."""
    return _encoder(tokens) / 1e12


def resampler(queries: int = BUDGET, tokens: int = 576, width: int = 1024) -> float:
    """Qwen-VL's cross-attention at the ViT's width: four projections and two products; the printed 0.003."""
    return (4 * width**2 * (queries + tokens) + 4 * queries * tokens * width) / 1e12


def _encoder(tokens: int, layers: int = 12, width: int = 768) -> float:
    return layers * (24 * width**2 * tokens + 4 * tokens**2 * width)


def _rollout(counts: list[int], group: int) -> float:
    """(group - 1) products of n x n matrices per group, n the tokens that enter it. 1e12 operations."""
    entering = counts[::group]
    return sum((group - 1) * 2 * n**3 for n in entering) / 1e12


def _whole_vision(shape: ModelShape) -> list[int]:
    return [shape.vision.tokens] * shape.vision.selected


def _constant(shape: ModelShape, visual: int, text: int) -> list[int]:
    return [visual + text - 1] * shape.llm.layers


def _tera(shape: ModelShape, vision: list[int], llm: list[int], extra: float = 0.0) -> Tera:
    schedule = TokenSchedule.stated(shape, llm, vision=vision)
    vision_flops = flops(shape, schedule, "ivtp", "vision")
    return Tera(vision_flops / 1e12, flops(shape, schedule, "ivtp", "prefill") / 1e12, extra)
