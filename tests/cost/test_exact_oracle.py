"""`exact` against the operations that torch counts in HuggingFace's own model of the same shape."""

from typing import Any

import pytest

from prunegrid.cost import Operator, TokenSchedule, count
from prunegrid.shape import ModelShape

from .small import LINEAR, SMALL


def huggingface_model(shape: ModelShape) -> Any:
    """LLaVA of this shape, attention as plain matrix products so that torch counts them."""
    transformers = pytest.importorskip("transformers")
    vision, llm = shape.vision, shape.llm
    tower = transformers.CLIPVisionConfig(
        hidden_size=vision.width,
        intermediate_size=vision.ffn,
        num_hidden_layers=vision.layers,
        num_attention_heads=vision.heads,
        image_size=vision.image_size,
        patch_size=vision.patch_size,
    )
    decoder = transformers.LlamaConfig(
        hidden_size=llm.width,
        intermediate_size=llm.ffn,
        num_hidden_layers=llm.layers,
        num_attention_heads=llm.heads,
        num_key_value_heads=llm.kv_heads,
        head_dim=llm.head_dim,
        vocab_size=llm.vocab,
    )
    config = transformers.LlavaConfig(
        vision_config=tower, text_config=decoder, image_token_index=llm.vocab - 1
    )
    config._attn_implementation = "eager"
    return transformers.LlavaForConditionalGeneration(config).eval()


def product_flops(op: Operator) -> float:
    """A linear operator without its bias (one addition per output), at 2 bytes per stored number."""
    biased = op.stage in ("vision", "projector") and op.name != "patch_embed"
    return (op.flops - (op.store / 2 if biased else 0)) * op.times


def test_matrix_products_of_the_whole_model() -> None:
    """Every linear layer to the last operation, attention before the causal saving. 7 prompt tokens."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    model = huggingface_model(SMALL)
    prompt = torch.tensor([[1, 6, 6, 6, 6, 2, 3]])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=prompt, pixel_values=torch.zeros(1, 3, 4, 4), logits_to_keep=1)

    operators = count(SMALL, TokenSchedule.stated(SMALL, 7, vision=[5, 5]), "exact")
    linear = sum(product_flops(op) for op in operators if op.name in LINEAR)
    attention = 2 * 4 * 5 * 5 * SMALL.vision.width + 2 * 4 * 7 * 7 * SMALL.llm.width
    assert counter.get_total_flops() == linear + attention
