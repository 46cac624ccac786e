"""What a probe shows = rows and columns of the full attention, in padded, ragged, causal batches with grouped heads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, LlavaForConditionalGeneration
from transformers.masking_utils import AttentionMaskInterface

from prunegrid.reduce import Place, Probe, Reduction, Site, TokenView, probe
from prunegrid.reduce.probe import Record, soft

from . import oracle
from .lab import (
    LAYERS,
    PATCHES,
    SOURCE,
    Inputs,
    at,
    close,
    draw,
    fixed,
    look,
    one,
    probed,
    ragged,
    tiny,
)

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration


# ---- the tower -----------------------------------------------------------------------------------------------
def tower(model: Model, pixels: Tensor, keep: list[int] | None = None, after: int = -1) -> list[Tensor]:
    """Attention [H, T, T] of each ViT layer over the tokens that are there: all, later CLS and `keep`."""
    x, weights = oracle.patches(model, pixels), []
    for i, layer in enumerate(model.model.vision_tower.encoder.layers):
        x, w = oracle.vit_attention(layer, x)
        x = oracle.vit_mlp(layer, x)
        weights.append(w)
        if i == after and keep is not None:
            x = torch.cat([x[:1], x[1:][keep]])
    return weights


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("place", [Place.FEATURES, Place.EMBEDS])
def test_cls_rows_of_every_layer(model: Model, inputs: Inputs, layer: int, place: Place) -> None:
    view = look(model, inputs, probed(at(place), layer))
    for b in range(2):
        want = tower(model, one(inputs, b)["pixel_values"])[layer]
        close(view.attention(layer)[b], want[:, :1, 1:])
        close(view.logits(layer)[b].softmax(-1), want[:, :1])


@pytest.mark.parametrize("layer", [-2, -1])
def test_cls_rows_are_those_of_eager_attention_to_a_millionth(inputs: Inputs, layer: int) -> None:
    """Of the layer that made the features and of the one behind, in single precision; transformers' own matrices."""
    soft_spoken = tiny()
    for weight in soft_spoken.parameters():
        weight.data.mul_(0.5 if weight.dim() > 1 else 1)  # so that rounding is not magnified
    view = look(soft_spoken, inputs, probed(at(Place.FEATURES), layer))
    vision = soft_spoken.model.vision_tower
    vision.set_attn_implementation("eager")
    want = vision(inputs["pixel_values"], output_attentions=True).attentions[layer][:, :, :1, 1:]
    assert want.max() > 2 * want.mean(), "a flat row would show nothing"
    torch.testing.assert_close(view.attention(layer), want, rtol=0, atol=1e-6)


KEEPS = {"0": draw(11, PATCHES, 1), "1": draw(6, PATCHES, 2)}


@pytest.mark.parametrize("layer", range(LAYERS))
def test_cls_rows_after_ragged_narrowing(model: Model, inputs: Inputs, layer: int) -> None:
    """Layers before the narrowing saw all patches: the columns of the survivors are picked out of them."""
    view = look(
        model, inputs, probed(at(Place.FEATURES), layer, keys=True), (at(Place.VISION, 1), ragged(KEEPS))
    )
    for b in range(2):
        keep = KEEPS[str(b)]
        want = tower(model, one(inputs, b)["pixel_values"], keep, after=1)[layer]
        columns = [1 + k for k in keep] if layer <= 1 else list(range(1, 1 + len(keep)))
        close(view.attention(layer)[b][:, :, view.valid[b]], want[:, :1, columns])
        received = want.sum(1)[:, columns]
        close(view.received(layer)[b][:, view.valid[b]], received)


def test_mid_block_sites_probe_their_own_layer_and_later_ones_follow_the_columns(
    model: Model, inputs: Inputs
) -> None:
    first = (Site(Place.VISION, 1, mid=True), ragged(KEEPS))
    own = look(model, inputs, Site(Place.VISION, 1, Probe((0, 1)), mid=True))
    late = look(model, inputs, Site(Place.VISION, 2, Probe((0, 1, 2))), first)
    for b in range(2):
        keep = KEEPS[str(b)]
        full = tower(model, one(inputs, b)["pixel_values"])
        short = tower(model, one(inputs, b)["pixel_values"], keep, after=1)
        for layer in (0, 1):
            close(own.attention(layer)[b], full[layer][:, :1, 1:])
            close(late.attention(layer)[b][:, :, late.valid[b]], full[layer][:, :1, [1 + k for k in keep]])
        close(late.attention(2)[b][:, :, late.valid[b]], short[2][:, :1, 1:])


def test_keys_and_values_are_those_of_the_tokens(model: Model, inputs: Inputs) -> None:
    site = probed(at(Place.FEATURES), 1, 2, queries=None, keys=True, values=True)
    view = look(model, inputs, site, (at(Place.VISION, 1), fixed(9, 2, 5)))
    for b in range(2):
        x = oracle.patches(model, one(inputs, b)["pixel_values"])
        layers = model.model.vision_tower.encoder.layers
        x1 = oracle.vit(model, x, 0, 1)
        x2 = oracle.vit(model, x1, 1, 2)[[0, 10, 3, 6]]
        for layer, seen in ((1, x1[[10, 3, 6]]), (2, x2[1:])):
            normed, attention = layers[layer].layer_norm1(seen), layers[layer].self_attn
            close(view.keys[layer][b], attention.k_proj(normed).view(3, 4, 8).transpose(0, 1))
            close(view.values[layer][b], attention.v_proj(normed).view(3, 4, 8).transpose(0, 1))
    assert not view.attended, "rows that nobody asked for"


def test_merged_tokens_have_no_column_in_earlier_layers(model: Model, inputs: Inputs) -> None:
    def merge(view: TokenView) -> Reduction:
        return Reduction(torch.tensor([[3, -1]] * 2), torch.rand(2, 2, 1 + PATCHES))

    with pytest.raises(ValueError, match="layer 0 was recorded before tokens were merged"):
        look(model, inputs, probed(at(Place.FEATURES), 0), (at(Place.VISION, 1), merge))
    assert (
        look(model, inputs, probed(at(Place.FEATURES), 2), (at(Place.VISION, 1), merge))
        .attention(2)
        .shape[-1]
        == 2
    )


def test_rows_count_merged_tokens_by_their_size(model: Model, inputs: Inputs) -> None:
    def merge(view: TokenView) -> Reduction:
        group = (torch.arange(PATCHES) > 9).long().expand(2, -1)
        return Reduction(torch.tensor([[3, 12]] * 2), group=group)

    first = (Site(Place.VISION, 0, proportional=True), merge)
    view = look(model, inputs, probed(at(Place.FEATURES), 1, 2), first)
    bias = torch.tensor([0.0, 10.0, 6.0]).clamp_min(1).log()
    for b in range(2):
        x = oracle.vit(model, oracle.patches(model, one(inputs, b)["pixel_values"]), 0, 1)[[0, 4, 13]]
        for layer in (1, 2):
            module = model.model.vision_tower.encoder.layers[layer]
            x, weights = oracle.vit_attention(module, x, bias=bias)
            x = oracle.vit_mlp(module, x)
            close(view.attention(layer)[b], weights[:, :1, 1:])
            close(view.received(layer)[b], weights.sum(1)[:, 1:])


@pytest.mark.parametrize("block", [5, 128])
def test_rollout_in_the_tower_is_exact(
    model: Model, inputs: Inputs, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "BLOCK", block)
    view = look(model, inputs, probed(at(Place.FEATURES), 2, 3), (at(Place.VISION, 1), ragged(KEEPS)))
    length = 1 + len(KEEPS["0"])
    row = torch.rand(2, length, generator=torch.Generator().manual_seed(0))
    pushed, twice = view.push(3, row), view.push(2, view.push(3, row))
    for b in range(2):
        n = 1 + len(KEEPS[str(b)])
        weights = tower(model, one(inputs, b)["pixel_values"], KEEPS[str(b)], after=1)
        close(pushed[b, :n], row[b, :n] @ weights[3].mean(0))
        close(twice[b, :n], row[b, :n] @ weights[3].mean(0) @ weights[2].mean(0))
        assert torch.equal(pushed[b, n:], torch.zeros(length - n))
        close(view.select(3, pushed)[b][view.valid[b]], (row[b, :n] @ weights[3].mean(0))[1:])


# ---- the reading itself --------------------------------------------------------------------------------------
def test_attention_is_read_through_a_registered_function_with_its_mask() -> None:
    assert AttentionInterface()[probe.PROBED] is probe.probed_sdpa
    assert probe.PROBED in AttentionMaskInterface()


def test_nothing_is_recorded_that_nobody_asked_for(model: Model, inputs: Inputs) -> None:
    view = look(model, inputs, probed(at(Place.FEATURES), SOURCE))
    assert list(view.records) == [SOURCE]
    assert not view.keys and not view.values
    assert not look(model, inputs, at(Place.FEATURES)).records


def test_whole_matrices_are_never_made(model: Model, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    plainly = Record.logits

    def counted(record: Record, which: Tensor) -> Tensor:
        rows.append(which.shape[-1])
        return plainly(record, which)

    monkeypatch.setattr(probe, "BLOCK", 4)
    monkeypatch.setattr(Record, "logits", counted)
    view = look(model, inputs, probed(at(Place.FEATURES), 1))
    assert rows == [1]
    view.received(1)
    view.push(1, torch.ones(2, 1 + PATCHES))
    assert rows == [1, *[4, 4, 4, 4, 1] * 2]


@pytest.mark.parametrize("shape", [(6, 6), (1, 6)])
def test_a_record_gives_the_rows_of_sdpa(shape: tuple[int, int]) -> None:
    """Causal without a mask, an added bias, and rows chosen per sample."""
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, shape[0], 8), torch.randn(2, 4, shape[1], 8), torch.randn(2, 4, shape[1], 8)
    bias = torch.randn(2, 1, 1, shape[1])
    record = Record(q, k, v, None, bias, 0.3, causal=shape[0] > 1)
    whole = soft(record.logits(torch.arange(shape[0])))
    mask = bias.expand(2, 1, *shape)
    if record.causal:
        mask = mask.masked_fill(~torch.ones(shape, dtype=torch.bool).tril(), -torch.inf)
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3)
    close(whole @ v, want)
    rows = torch.tensor([[0, shape[0] - 1], [shape[0] // 2, 0]])
    chosen = soft(record.logits(rows))
    close(chosen, torch.stack([whole[b][:, rows[b]] for b in range(2)]))
