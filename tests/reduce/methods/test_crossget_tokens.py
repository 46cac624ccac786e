"""CrossGET's cross tokens: one ViT layer against the reference, both towers against plain algebra, training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from prunegrid.reduce import Place, ReducedVLM, Reducer, Site
from prunegrid.reduce.methods.crossget_tokens import CrossGETTokens, CrossTokens, agreement, partners
from prunegrid.shape import ModelShape, llava15_7b
from reduce import lab, oracle
from reference import crossget as slow


def filled(model: Any, reducer: CrossGETTokens, seed: int = 0) -> ReducedVLM:
    """With vectors that are not zero."""
    vlm = ReducedVLM(model, reducer)
    assert isinstance(vlm.host.module, CrossTokens)
    g = torch.Generator().manual_seed(seed)
    for value in vlm.host.module.parameters():
        value.data.copy_(torch.randn(value.shape, generator=g))
    return vlm


def test_the_vectors_start_at_zero_one_per_layer() -> None:
    made = CrossGETTokens(untrained=True).module(llava15_7b())
    assert isinstance(made, CrossTokens)
    assert made.image.shape == (23, 1024) and made.text.shape == (32, 4096)
    assert not made.image.any() and not made.text.any()


@pytest.mark.usefixtures("no_grad")
@pytest.mark.parametrize("keep", [7, 10, 13, 16])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_the_towers_equal_plain_algebra(model: Any, keep: int, batch: int) -> None:
    """Sizes 1 + patches + 1; each layer: the vector, attention with log sizes, the reference's matching, the MLP."""
    inputs = {1: lab.one(lab.batch(), 1), 2: lab.batch(), 4: lab.batch((3, 7, 5, 2), 3, (2, 1, 4, 3))}[batch]
    reducer = CrossGETTokens(keep, untrained=True)
    vlm = filled(model, reducer)
    out, trace = vlm.forward(inputs, inputs["input_ids"])
    counts = reducer.matching.counts(vlm.host.shape)
    assert trace.vision == [[n + 2 for n in (16, *counts)]] * batch and trace.projector == [keep + 1] * batch
    image, text = [], []
    for b in range(batch):
        last, *tokens = towers(model, vlm, inputs, b)
        lab.close(out.logits[b, -1], last)
        for all_of_them, mine in zip((image, text), tokens, strict=True):
            all_of_them.append(mine)
    both = oracle.project(model, torch.stack(image, 1)), torch.stack(text, 1)
    assert float(out.own_loss) == pytest.approx(slow.agreement(*both), rel=1e-4)


def towers(model: Any, vlm: ReducedVLM, inputs: lab.Inputs, b: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sample b: logits of its last token, and the cross tokens that enter each layer, [l, C] and [L, D]."""
    module: Any = vlm.host.module
    reducer: Any = vlm.reducer
    x = oracle.patches(model, lab.one(inputs, b)["pixel_values"])
    x, size = torch.cat([x, x[:1]]), torch.ones(len(x) + 1)
    image, text = [], []
    for i, left in enumerate(reducer.matching.counts(vlm.host.shape)):
        layer = model.model.vision_tower.encoder.layers[i]
        image.append(x[-1] + module.image[i])
        x = torch.cat([x[:-1], image[-1][None]])
        x, size = crossed(layer, x, size, len(x) - 2 - left)
    prompt, _ = lab.prompt_of(model, inputs, b, oracle.project(model, x[1:]))
    everyone = oracle.causal(torch.ones(len(prompt), dtype=torch.bool))
    for i in range(lab.LAYERS):
        text.append(prompt[0] + module.text[i])
        prompt = torch.cat([text[-1][None], prompt[1:]])
        prompt, _ = oracle.llm_layer(model, i, prompt, everyone, torch.arange(len(prompt)))
    return oracle.head(model, prompt)[-1], torch.stack(image), torch.stack(text)


def crossed(layer: Any, x: Tensor, size: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """One ViT layer of [1 + N + 1, C] with the reference's matching of r patches in its middle."""
    keys = layer.self_attn.k_proj(layer.layer_norm1(x)).view(len(x), layer.self_attn.num_heads, -1)
    x, attention = oracle.vit_attention(layer, x, bias=size.log())
    if r:
        step = slow.crossget_merge(x, keys.transpose(0, 1), attention, size, r)
        x, size = step.tokens, step.size
    return oracle.vit_mlp(layer, x), size


@pytest.mark.usefixtures("no_grad")
def test_a_padded_batch_equals_its_samples_and_text_vectors_meet_the_first_token(model: Any) -> None:
    inputs, vlm = lab.batch(), filled(model, CrossGETTokens(7, untrained=True))
    both, _ = vlm.forward(inputs)
    for b in range(2):
        alone, _ = vlm.forward(lab.one(inputs, b), ids=[str(b)])
        lab.close(both.logits[b, -1], alone.logits[0, -1])


def test_vectors_learn_and_what_they_replace_gets_no_gradient(model: Any) -> None:
    vlm = filled(model, CrossGETTokens(7, untrained=True))
    inputs = lab.batch()
    loss = vlm.forward(inputs, labels=inputs["input_ids"])[0].loss
    assert loss is not None
    loss.backward()
    module: Any = vlm.host.module
    assert all(bool(row.abs().max() > 0) for row in (*module.image.grad, *module.text.grad))
    model.zero_grad()
    site, state = Site(Place.VISION, 1, mid=True), vlm.reducer.start(vlm.host)
    hidden = torch.randn(1, 5, 32, requires_grad=True)
    vlm.reducer.edit(site, hidden, state).sum().backward()
    assert hidden.grad is not None and hidden.grad[0, -1].eq(0).all() and hidden.grad[0, :-1].eq(1).all()
    hidden = torch.randn(1, 5, 64, requires_grad=True)
    valid = torch.tensor([[False, True, True, True, True]])
    vlm.reducer.edit(Site(Place.PROMPT, 1), hidden, state, valid).sum().backward()
    assert hidden.grad is not None and hidden.grad[0, :, 0].tolist() == [1, 0, 1, 1, 1]


def test_agreement_is_zero_where_both_say_the_same() -> None:
    p, q = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.6, 0.4]])
    m = (p + q) / 2
    want = ((m * (m / p).log()).sum() + (m * (m / q).log()).sum()) / 2
    torch.testing.assert_close(agreement(p.log(), q.log()), want)
    torch.testing.assert_close(agreement(q.log(), p.log()), want)
    assert float(agreement(p.log(), p.log() + 3)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("vision", "text"), [(23, 32), (23, 40), (3, 4), (4, 3), (5, 5), (1, 6)])
def test_agreement_equals_the_loop(vision: int, text: int) -> None:
    g = torch.Generator().manual_seed(vision)
    image, words = (torch.randn(n, 3, 8, generator=g) * 3 for n in (vision, text))
    got = agreement(image[partners(vision, text)], words)
    assert float(got) == pytest.approx(slow.agreement(image, words), rel=1e-4)


@pytest.mark.parametrize("start", ["zero", "filled"])
def test_agreement_reaches_every_vector_and_nothing_else(model: Any, start: str) -> None:
    reducer = CrossGETTokens(7, untrained=True)
    vlm = ReducedVLM(model, reducer) if start == "zero" else filled(model, reducer)
    model.zero_grad()
    inputs = lab.batch()
    own = vlm.forward(inputs, inputs["input_ids"])[0].own_loss
    assert own is not None and own.item() > 0
    own.backward()
    module: Any = vlm.host.module
    assert all(bool(row.abs().max() > 0) for row in (*module.image.grad, *module.text.grad))
    assert not [n for n, p in model.named_parameters() if p.grad is not None]


def test_where_nothing_is_learnt_there_is_no_loss_of_its_own(model: Any) -> None:
    inputs, vlm = lab.batch(), filled(model, CrossGETTokens(7, untrained=True))
    assert vlm.forward(inputs)[0].own_loss is None, "no labels"
    assert ReducedVLM(model, Reducer()).forward(inputs, inputs["input_ids"])[0].own_loss is None
    text = {"input_ids": torch.tensor([[1, 5, 6, 7]]), "attention_mask": torch.ones(1, 4).long()}
    assert vlm.forward(text, text["input_ids"])[0].own_loss is None, "no picture"


def test_untrained_and_without_a_class_token_it_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="there are no weights"):
        ReducedVLM(model, CrossGETTokens())
    bare = ModelShape.from_config({"vision_config": {"model_type": "siglip_vision_model", "image_size": 384}})
    with pytest.raises(ValueError, match="no class token to copy"):
        CrossGETTokens(untrained=True).sites(bare)
    assert isinstance(CrossGETTokens(untrained=True), Reducer)
