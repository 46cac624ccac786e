"""Rows of a layer before it runs: the tiny LLaVA against the loop that multiplies norm, weights and rotation itself."""

from __future__ import annotations

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place
from reference import pyramiddrop as reference

from . import oracle
from .lab import HEADS, KV_HEADS, Inputs, at, close, fixed, look, probed, prompt_of

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration


@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize("renumber", [False, True])
def test_the_row_is_that_of_the_layer_about_to_run(
    model: Model, inputs: Inputs, layer: int, renumber: bool
) -> None:
    """With and without an earlier prune, whose positions count."""
    kept = [1, 4, 7, 12]
    positions = "renumber" if renumber else "keep"
    before = [(at(Place.PROMPT, 1, positions=positions), fixed(*kept))] if layer else []
    view = look(model, inputs, probed(at(Place.PROMPT, layer), layer, queries="last", keys=True), *before)
    for b in range(2):
        x, visual = prompt_of(model, inputs, b)
        alive, position = oracle.survivors(model, len(x), visual, [(1, kept, renumber)] if layer else [])
        hidden = x
        for i in range(layer):
            hidden, _ = oracle.llm_layer(model, i, hidden, oracle.causal(alive[i]), position[i])
        left = [t for t in range(len(x)) if alive[layer][t]]
        block = model.model.language_model.layers[layer]
        # At its site a stage still counts as the layer before it did.
        counted = position[layer] if layer != 1 else position[0]
        q, k = reference.queries_and_keys(
            hidden[left],
            counted[left].tolist(),
            block.input_layernorm.weight,
            block.self_attn.q_proj.weight,
            block.self_attn.k_proj.weight,
            HEADS,
            KV_HEADS,
            eps=block.input_layernorm.variance_epsilon,
        )
        columns = [left.index(t) for t in left if t in visual]
        want = reference.scores(q, k, columns)
        close(view.attention(layer)[b].mean(0)[0], torch.tensor(want))
        close(view.keys[layer][b], k.repeat_interleave(HEADS // KV_HEADS, 0)[:, columns])
