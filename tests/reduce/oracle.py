"""What a reduced run must equal, one sample at a time: full runs with masked keys, in plain tensor algebra.

Uses the weights of the HuggingFace modules and nothing of prunegrid. Masks say who may see whom (True = sees).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


def softmax_attention(
    q: Tensor, k: Tensor, v: Tensor, sees: Tensor, bias: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """q, k, v [H, T, Dh] -> [T, H * Dh], weights [H, T, T]."""
    logits = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5 + bias
    weights = logits.masked_fill(~sees, -torch.inf).softmax(-1)
    return (weights @ v).transpose(0, 1).flatten(1), weights


# ---- vision tower --------------------------------------------------------------------------------------------
def patches(model: Any, pixels: Tensor, **options: Any) -> Tensor:
    """pixels [1, 3, h, w] -> the input of ViT layer 0, [1 + N, D]."""
    tower = model.model.vision_tower
    x: Tensor = tower.pre_layrnorm(tower.embeddings(pixels, **options))[0]
    return x


def vit_attention(
    layer: Any, x: Tensor, sees: Tensor | None = None, bias: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    """First half of a CLIP layer: x + attention, and its weights [H, T, T]."""
    attention, normed = layer.self_attn, layer.layer_norm1(x)
    q, k, v = (
        project(normed).view(len(x), attention.num_heads, -1).transpose(0, 1)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    everyone = torch.ones(len(x), dtype=torch.bool)
    mixed, weights = softmax_attention(q, k, v, everyone if sees is None else sees, bias)
    return x + attention.out_proj(mixed), weights


def vit_mlp(layer: Any, x: Tensor) -> Tensor:
    after: Tensor = x + layer.mlp(layer.layer_norm2(x))
    return after


def vit(
    model: Any, x: Tensor, start: int, stop: int, gone: Mapping[int, Iterable[int]] | None = None
) -> Tensor:
    """Layers start..stop-1 over all tokens; patches in gone[i] are unseen from layer i + 1 on (-1: from the first)."""
    sees = torch.ones(len(x), dtype=torch.bool)
    for patch in (gone or {}).get(-1, ()):
        sees[1 + patch] = False
    for i, layer in enumerate(model.model.vision_tower.encoder.layers):
        if start <= i < stop:
            x = vit_mlp(layer, vit_attention(layer, x, sees)[0])
        for patch in (gone or {}).get(i, ()):
            sees[1 + patch] = False
    return x


def features(model: Any, pixels: Tensor, keep: Sequence[int] | None = None, **options: Any) -> Tensor:
    """What reaches the language model, [n, D]: patches `keep` (all) of the layer that LLaVA reads."""
    count = len(model.model.vision_tower.encoder.layers) + model.config.vision_feature_layer + 1
    x = vit(model, patches(model, pixels), 0, count, **options)[1:]
    return project(model, x if keep is None else x[list(keep)])


def project(model: Any, x: Tensor) -> Tensor:
    y: Tensor = model.model.multi_modal_projector(x)
    return y


# ---- language model ------------------------------------------------------------------------------------------
def words(model: Any, ids: Tensor) -> Tensor:
    """ids [T] -> [T, D]; a generated placeholder is a word like any other."""
    x: Tensor = model.get_input_embeddings()(ids)
    return x


def embed(model: Any, ids: Tensor, visual: Tensor) -> Tensor:
    """ids [T] with a run of placeholders, visual [n, D] in its place -> [T', D]."""
    slots = (ids == model.config.image_token_id).nonzero().squeeze(1)
    start, end = int(slots[0]), int(slots[-1]) + 1
    return torch.cat([words(model, ids[:start]), visual, words(model, ids[end:])])


def span(model: Any, ids: Tensor, count: int) -> range:
    """Where `count` visual tokens stand in the prompt."""
    slots = (ids == model.config.image_token_id).nonzero().squeeze(1)
    return range(int(slots[0]), int(slots[0]) + count)


def llm_layer(model: Any, i: int, x: Tensor, sees: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """One decoder layer on [T, D] and its attention [H, T, T]; sees [T, T] or [H, T, T]."""
    decoder = model.model.language_model
    layer = decoder.layers[i]
    attention, normed = layer.self_attn, layer.input_layernorm(x)
    cos, sin = (t[0] for t in decoder.rotary_emb(x[None], position_ids=position[None]))

    def heads(projected: Tensor) -> Tensor:
        return projected.view(len(x), -1, attention.head_dim).transpose(0, 1)

    def rotate(t: Tensor) -> Tensor:
        half = t.shape[-1] // 2
        return t * cos + torch.cat([-t[..., half:], t[..., :half]], -1) * sin

    q = rotate(heads(attention.q_proj(normed)))
    k, v = rotate(heads(attention.k_proj(normed))), heads(attention.v_proj(normed))
    groups = len(q) // len(k)
    mixed, weights = softmax_attention(
        q, k.repeat_interleave(groups, 0), v.repeat_interleave(groups, 0), sees
    )
    x = x + attention.o_proj(mixed)
    return x + layer.mlp(layer.post_attention_layernorm(x)), weights


def head(model: Any, x: Tensor) -> Tensor:
    logits: Tensor = model.lm_head(model.model.language_model.norm(x))
    return logits


def decode(
    model: Any, x: Tensor, sees: Sequence[Tensor], position: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """All layers on [T, D], each with its own masks and positions -> logits [T, V], attention [H, T, T] of each."""
    attention = []
    for i, (mask, order) in enumerate(zip(sees, position, strict=True)):
        x, weights = llm_layer(model, i, x, mask, order)
        attention.append(weights)
    return head(model, x), attention


def causal(alive: Tensor) -> Tensor:
    """alive [T] or [H, T] -> who sees whom [.., T, T]: earlier living tokens, and always oneself."""
    eye = torch.eye(alive.shape[-1], dtype=torch.bool)
    return torch.ones_like(eye).tril() & alive[..., None, :] | eye


Stage = tuple[int, Sequence[int], bool]  # layer, kept, renumber


def survivors(
    model: Any, total: int, scope: Sequence[int], stages: Sequence[Stage]
) -> tuple[list[Tensor], list[Tensor]]:
    """Per layer who is alive, [total] bool, and RoPE positions. At each stage's layer only `kept` of the tokens in
    `scope` that still live stay alive; `renumber` counts positions anew over the living."""
    alive, position = torch.ones(total, dtype=torch.bool), torch.arange(total)
    there = list(scope)
    lives, positions = [], []
    for i in range(len(model.model.language_model.layers)):
        for layer, kept, renumber in stages:
            if layer == i:
                dead = set(there) - {there[k] for k in kept}
                there = [t for t in there if t not in dead]
                alive = alive & torch.tensor([t not in dead for t in range(total)])
                position = (alive.long().cumsum(0) - 1).clamp_min(0) if renumber else position
        lives.append(alive)
        positions.append(position)
    return lives, positions


def masked(model: Any, x: Tensor, scope: Sequence[int], stages: Sequence[Stage], new: Tensor) -> Tensor:
    """Logits [new, V] of each decoding step after the prompt x [T, D], in one pass without a cache."""
    full = torch.cat([x, words(model, new[:-1])])
    alive, position = survivors(model, len(full), scope, stages)
    logits, _ = decode(model, full, [causal(a) for a in alive], position)
    return logits[len(x) - 1 :]


def plain(model: Any, x: Tensor, new: Tensor) -> Tensor:
    """Logits [new, V] with everything seen."""
    return masked(model, x, (), (), new)


Policy = Callable[[int, int, Tensor], Tensor]


def evicting(
    model: Any, x: Tensor, scope: Sequence[int], stages: Sequence[Stage], new: Tensor, policy: Policy
) -> Tensor:
    """Logits [new, V] where each layer forgets keys after each step: everything is recomputed at every step, with
    the masks that each query had when it was new.

    policy(layer, step, attention [H, T, T]) -> bool [Hkv or 1, T]: forgotten from the next step on.
    """
    full = torch.cat([x, words(model, new[:-1])])
    alive, position = survivors(model, len(full), scope, stages)
    heads = model.config.text_config.num_attention_heads
    sees = [causal(a).expand(heads, -1, -1).clone() for a in alive]
    steps = []
    for step in range(len(new)):
        n = len(x) + step
        logits, attention = decode(model, full[:n], [s[:, :n, :n] for s in sees], [p[:n] for p in position])
        steps.append(logits[-1])
        for i, weights in enumerate(attention):
            gone = policy(i, step, weights)
            sees[i][:, n:, :n] &= ~gone.repeat_interleave(heads // len(gone), 0)[:, None, :]
    return torch.stack(steps)


Block = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def rebuilt(model: Any, x: Tensor, visual: range, stages: Mapping[int, Block], new: Tensor) -> Tensor:
    """Logits [new, V] where a stage rewrites the visual block before its layer: (hidden [n, D], position [n]) ->
    the same of what takes its place. No masks but the causal one: the sequence itself gets shorter."""
    h = torch.cat([x, words(model, new[:-1])])
    position, first, count = torch.arange(len(h)), visual.start, len(visual)
    for i in range(len(model.model.language_model.layers)):
        if i in stages:
            cut = slice(first, first + count)
            block, numbers = stages[i](h[cut], position[cut])
            h = torch.cat([h[:first], block, h[first + count :]])
            position = torch.cat([position[:first], numbers, position[first + count :]])
            count = len(block)
        h, _ = llm_layer(model, i, h, causal(torch.ones(len(h), dtype=torch.bool)), position)
    return head(model, h)[-len(new) :]
