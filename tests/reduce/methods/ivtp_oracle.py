"""IVTP's two stages on one sample of the tiny LLaVA: sequences that really shrink, whole matrices, plain tensor algebra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prunegrid.reduce import PromptText
from reduce import clip, oracle
from reduce.lab import PATCHES, SOURCE
from reference import ivtp as reference

Options = Mapping[str, Any]
Groups = Sequence[Sequence[int]]


def matrix(q: Tensor, k: Tensor) -> Tensor:
    """[H, 1 + N, 1 + N] attention."""
    return (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)


def scores(
    layers: Sequence[Tensor], values: Tensor | None, options: Options, query: int, columns: Sequence[int]
) -> list[float]:
    """The reference's S. layers: [H, T, T] from the bottom up; values [H, T, Dh]."""
    rollout = options.get("attention", "rollout") == "rollout"
    how: Any = options.get("aggregation", "residual") if rollout else "top"
    if values is None or not options.get("values", True):
        values = torch.ones(1, layers[0].shape[1], 1)
    return reference.scores(reference.aggregate(list(layers), how), values, query, list(columns))


class Seen(NamedTuple):
    """What the vision tower leaves: who is left after each group, tokens for the LLM, the class token."""

    history: list[list[int]]
    visual: Tensor  # [n, D]
    read: Tensor  # [C]
    last: Tensor  # [C]


def tower(model: Any, pixels: Tensor, groups: Groups, counts: Sequence[int], options: Options) -> Seen:
    """Stage 1; `groups` may be empty."""
    layers = model.model.vision_tower.encoder.layers
    x, alive, history = oracle.patches(model, pixels), list(range(PATCHES)), []
    ends = {group[-1]: (group, count) for group, count in zip(groups, counts, strict=True)}
    matrices: dict[int, Tensor] = {}
    visual = read = last = x
    for i, layer in enumerate(layers):
        v = layer.self_attn.v_proj(layer.layer_norm1(x)).view(len(x), 4, -1).transpose(0, 1)
        y, matrices[i] = oracle.vit_attention(layer, x)
        after = oracle.vit_mlp(layer, y)
        last, x = after[0], after if i <= SOURCE else x
        if i in ends:
            group, count = ends[i]
            s = scores([matrices[k] for k in group], v, options, 0, range(1, len(v[0])))
            keep = reference.keep(s, count)
            alive = [alive[j] for j in keep]
            x = x[[0, *(1 + j for j in keep)]]
            history.append(alive)
        if i == SOURCE or i in ends:
            visual, read = x[1:], x[0] if i <= SOURCE else read
    return Seen(history, oracle.project(model, visual), read, last)


def key_tokens(
    model: Any, seen: Seen, prompt: PromptText, words: Tensor, options: Options
) -> tuple[Tensor, list[int]]:
    """The pseudo-CLS [D] and the text tokens (words [S, D]) that made it."""
    fallback = oracle.project(model, seen.read[None])[0]
    if not options.get("ott", True):
        return fallback, []
    start, stop = (0, len(prompt.text)) if options.get("text") == "all" else prompt.said
    inside = [i for i, (a, b) in enumerate(prompt.spans) if a < stop and b > start]
    if not options.get("rt", True):
        c = [float("inf") if i in inside else -float("inf") for i in range(len(words))]
    elif not options.get("te", True):
        c = reference.direct_similarity(fallback, words)
    else:
        c = similarity(model, seen.last, prompt, (start, stop))
    c = [x if i in inside else -float("inf") for i, x in enumerate(c)]
    return reference.pseudo_cls(words, c, fallback, options.get("tau", 0.2))


def similarity(model: Any, last: Tensor, prompt: PromptText, scope: tuple[int, int]) -> list[float]:
    """C_i of every text token of the prompt, with CLIP's own modules and the reference's alignment."""
    raw, tok = clip.raw(model), clip.tokenizer()
    text, place = reference.normalise(prompt.text[scope[0] : scope[1]])
    ids = tok(text, add_special_tokens=False)["input_ids"]
    tokens = []
    for a, b in reference.windows(len(ids)):
        window = torch.tensor([[clip.BEGIN, *ids[a:b], clip.END]])
        tokens.append(raw.text_projection(raw.text_model(input_ids=window).last_hidden_state)[0, 1:-1])
    if not tokens:
        return [float("-inf")] * len(prompt.spans)
    image = raw.visual_projection(raw.vision_model.post_layernorm(last))
    theirs = reference.locate(tok.convert_ids_to_tokens(ids), text)
    place = [*place, len(text)]
    shifted = [(a - scope[0], b - scope[0]) for a, b in prompt.spans]
    ours = [(place[a], place[b]) if 0 <= a <= b < len(place) else (0, 0) for a, b in shifted]
    return reference.similarity(image, torch.cat(tokens), reference.align(ours, theirs))


Stage = tuple[int, list[int], bool]  # layer, kept (of those alive), renumber


def stages(
    model: Any,
    x: Tensor,
    visual: range,
    ghost: Tensor,
    key: list[int],
    prunes: Sequence[tuple],
    options: Options,
) -> list[Stage]:
    """Stage 2 on the prompt x [T, D]. `prunes`: (group, count); `key`: ordinals of the text tokens that the ghost is
    rebuilt from."""
    renumber = options.get("positions") == "renumber"
    h, position, there = x, torch.arange(len(x)), list(visual)
    ends = {group[-1]: (group, count) for group, count in prunes}
    matrices: dict[int, Tensor] = {}
    done: list[Stage] = []
    for i in range(max(ends) + 1):
        text = [t for t in range(len(h)) if t not in there]
        if options.get("pseudo") == "rebuilt" and key:
            ghost = h[[text[k] for k in key]].mean(0)
        behind = there[-1] + 1
        whole, T = torch.cat([h, ghost[None]]), len(h)
        sees = torch.ones(T + 1, T + 1, dtype=torch.bool).tril()
        sees[T, behind:T] = False  # system and image tokens, and itself
        order = torch.cat([position, position[behind : behind + 1]])
        layer = model.model.language_model.layers[i]
        v = layer.self_attn.v_proj(layer.input_layernorm(whole)).view(T + 1, 2, -1).transpose(0, 1)
        out, matrices[i] = oracle.llm_layer(model, i, whole, sees, order)
        h, ghost = out[:T], out[T]
        if i in ends:
            group, count = ends[i]
            grouped = v.repeat_interleave(2, 0)
            keep = reference.keep(scores([matrices[k] for k in group], grouped, options, T, there), count)
            done.append((i + 1, keep, renumber))
            gone = {t for j, t in enumerate(there) if j not in keep}
            stay = [t for t in range(T) if t not in gone]
            h, position = h[stay], position[stay]
            there = [stay.index(there[j]) for j in keep]
            position = torch.arange(len(h)) if renumber else position
    return done
