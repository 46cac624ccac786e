"""The training losses of both stages."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel, LlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from prunegrid.mini.batches import KINDS, PLANES, turn_mask
from prunegrid.mini.model import FEATURE_LAYER, WIDTH
from prunegrid.mini.pointing import asked_patches, digit_patches, joined_digits, named_patches

CONTRASTIVE_WEIGHT, ALIGN_WEIGHT, POINT_WEIGHT = 0.2, 0.3, 0.4
# Where words look for what they name (and options for their letter), where an answer looks at what its question names
# (and the second digit of a number at its first), and where it looks for the option that says it: a layer each, because
# each needs what was found before.
WORD_LAYER, ANSWER_LAYER, OPTION_LAYER = 2, 3, 4


class PatchHeads(nn.Module):
    """Linear readers of what lies on a patch; used in training only, thrown away afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, sum(PLANES))

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, list[float]]:
        """features [B, N, D], labels [B, N, 6] -> (sum of cross-entropies, accuracy per plane where something lies)."""
        loss, right = features.new_zeros((), dtype=torch.float32), []
        for plane, logits in enumerate(self.read(features).float().split(PLANES, -1)):
            truth = labels[..., plane]
            there = truth > 0
            # Over all patches, and over those where something lies: digits cover 3 % of a picture and would wait long.
            loss = loss + F.cross_entropy(logits.flatten(0, 1), truth.flatten())
            loss = loss + F.cross_entropy(logits[there], truth[there])
            right.append((logits.argmax(-1)[there] == truth[there]).float().mean().item())
        return loss, right


def vision_loss(
    clip: CLIPModel, heads: PatchHeads, batch: dict[str, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Stage 1: CLIP's symmetric contrastive loss plus what lies on each patch."""
    seen = clip.vision_model(pixel_values=batch["pixels"], output_hidden_states=True)
    read = clip.text_model(input_ids=batch["caption"])
    image = F.normalize(clip.visual_projection(seen.pooler_output).float(), dim=-1)
    text = F.normalize(clip.text_projection(read.pooler_output).float(), dim=-1)
    logits = image @ text.t() * clip.logit_scale.exp()
    pairs = torch.arange(len(logits))
    contrast = (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.t(), pairs)) / 2
    patches, right = heads(seen.hidden_states[FEATURE_LAYER][:, 1:], batch["labels"])
    names = ("color", "shape", "size", "row", "column", "digit")
    log = {"contrast": contrast.item(), "patch": patches.item(), **dict(zip(names, right, strict=True))}
    return CONTRASTIVE_WEIGHT * contrast + patches, log


def language_loss(
    llava: LlavaForConditionalGeneration, batch: dict[str, Tensor], table: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Stage 2, vision frozen: next token on the answers, plus alignment (a projected patch should speak the words
    that name it through the tied embeddings) and pointing (a word should look at the patches that it names). Without
    the first no skill came in an hour; without the second words of shapes never learnt to look, words of colours did."""
    with torch.no_grad():
        seen = llava.model.vision_tower(pixel_values=batch["pixels"], output_hidden_states=True)
    visual = llava.model.multi_modal_projector(seen.hidden_states[FEATURE_LAYER][:, 1:])
    model = llava.model.language_model
    embeds = model.embed_tokens(batch["ids"]).to(visual.dtype)
    slots = (batch["ids"] == llava.config.image_token_id)[..., None]
    embeds = embeds.masked_scatter(slots, visual)
    layers = (WORD_LAYER, ANSWER_LAYER, OPTION_LAYER)
    word, answer, option = (Looking(model.layers[layer].self_attn) for layer in layers)
    with word, answer, option:
        hidden = model(
            inputs_embeds=embeds,
            attention_mask=turn_mask(batch["turn"]),
            position_ids=batch["positions"],
            use_cache=False,
        ).last_hidden_state
    asked = batch["targets"][:, 1:] != -100
    logits = llava.lm_head(hidden[:, :-1][asked]).float()
    truth = batch["targets"][:, 1:][asked]
    said = F.cross_entropy(logits, truth)
    align = alignment_loss(llava, visual, batch["labels"], table)
    named = named_patches(batch, table)
    patches = slots[..., 0]
    point = word.loss(patches, named) + answer.loss(patches, asked_patches(batch, named))
    # Digits are few among the words that name: a mean of their own, or they wait for all others.
    point = point + word.loss(patches, digit_patches(batch, table))
    for look, key in ((option, "option"), (word, "letter")):
        point = point + look.found(batch[key], batch["turn"])
    point = point + answer.found(joined_digits(batch), batch["turn"])
    right = (logits.argmax(-1) == truth).float()
    log = {"said": said.item(), "align": align.item(), "point": point.item(), "token": right.mean().item()}
    return said + ALIGN_WEIGHT * align + POINT_WEIGHT * point, log | skills(
        right, batch["kind"][:, 1:][asked]
    )


def skills(right: Tensor, kind: Tensor) -> dict[str, float]:
    """right, kind [T] -> share of right words (end token left out) per kind of question that was asked."""
    return {name: right[kind == k].mean().item() for k, name in enumerate(KINDS) if (kind == k).any()}


def alignment_loss(
    llava: LlavaForConditionalGeneration, visual: Tensor, labels: Tensor, table: Tensor
) -> Tensor:
    """visual [B, N, D], labels [B, N, 6] -> mean negative log probability of the words that name each patch."""
    names = torch.stack([table[plane][labels[..., plane]] for plane in range(6)], -1)  # [B, N, 6]
    there = names.amax(-1) >= 0
    spoken = llava.lm_head(llava.model.language_model.norm(visual[there])).float().log_softmax(-1)
    wanted = names[there]
    picked = spoken.gather(1, wanted.clamp_min(0)) * (wanted >= 0)
    return -(picked.sum(-1) / (wanted >= 0).sum(-1)).mean()


class Looking:
    """What one attention module was given while open, and whether its heads look where they should."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.hidden: Tensor | None = None
        self.rope: tuple[Tensor, Tensor] | None = None
        self._handle: Any = None

    def __enter__(self) -> Looking:
        self._handle = self.module.register_forward_pre_hook(self._note, with_kwargs=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()

    def _note(self, _: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        self.hidden = given["hidden_states"] if "hidden_states" in given else args[0]
        self.rope = given["position_embeddings"]

    def loss(self, visual: Tensor, wanted: Tensor) -> Tensor:
        """visual bool [B, L] with N set per sample, wanted bool [B, L, N]: the patches that a position should look at,
        none = free. Mean of -log m, with m the share of attention, among patches, that the best head has on them. (One
        minus the product of what all heads miss is no measure of it: four heads that look everywhere pass it.)"""
        asks = wanted.any(-1)
        rows = (
            asks.float().topk(max(1, int(asks.sum(1).max())), dim=1).indices
        )  # [B, R]: asking positions first
        picked = wanted.gather(1, rows[..., None].expand(-1, -1, wanted.shape[-1]))
        patches = visual[:, None, None].expand(-1, 1, rows.shape[1], -1)
        look = self.attention(rows, visual[:, None])
        look = look[patches.expand_as(look)].view(*look.shape[:3], -1)  # [B, H, R, N]
        return _missed((look * picked[:, None]).sum(-1), asks.gather(1, rows))

    def found(self, option: Tensor, turn: Tensor) -> Tensor:
        """option [B, L]: the place that a position should look at among those of its own turn, -1 = free. As `loss`, but
        for the head that is best over all positions: four heads that each look at an option of their own, whatever it
        says, leave no position without a head that is right."""
        asks = option >= 0
        rows = asks.float().topk(max(1, int(asks.sum(1).max())), dim=1).indices
        own = turn.gather(1, rows)[..., None] == turn[:, None]
        earlier = torch.arange(turn.shape[1]) <= rows[..., None]
        place = option.gather(1, rows).clamp_min(0)[:, None, :, None]
        look = self.attention(rows, own & earlier)
        mass = look.gather(-1, place.expand(-1, look.shape[1], -1, -1))[..., 0].clamp_min(1e-6)  # [B, H, R]
        there = asks.gather(1, rows)[:, None]
        return (-(mass.log() * there).sum((0, 2)) / there.sum().clamp_min(1)).amin()

    def attention(self, rows: Tensor, seen: Tensor) -> Tensor:
        """rows [B, R] positions, seen bool [B, R or 1, L] -> attention [B, H, R, L] among what is `seen`."""
        assert self.hidden is not None and self.rope is not None, "nothing has been looked at"
        batch, size = len(rows), self.module.head_dim

        def heads(x: Tensor) -> Tensor:
            return x.view(batch, x.shape[1], -1, size).transpose(1, 2)

        query, key = (heads(p(self.hidden)) for p in (self.module.q_proj, self.module.k_proj))
        query, key = apply_rotary_pos_emb(query, key, *self.rope)
        query = query.gather(2, rows[:, None, :, None].expand(-1, query.shape[1], -1, size))
        return (
            (query @ key.transpose(-1, -2) * size**-0.5).float().masked_fill(~seen[:, None], -1e9).softmax(-1)
        )


def _missed(mass: Tensor, there: Tensor) -> Tensor:
    """mass [B, H, R] in [0, 1], there bool [B, R] -> mean over `there` of -log of the best head's mass."""
    best = mass.amax(1).clamp_min(1e-6)
    return -(best.log() * there).sum() / there.sum().clamp_min(1)
