"""The training losses of both stages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPModel, LlavaForConditionalGeneration

from prunegrid.mini.batches import BIG, COLOR, COLUMN, DIGIT, KINDS, PLANES, ROW, SHAPE, turn_mask
from prunegrid.mini.language import words
from prunegrid.mini.model import FEATURE_LAYER, WIDTH
from prunegrid.mini.scenes import COLORS, COLUMNS, ROWS, SHAPES, SIZES

CONTRASTIVE_WEIGHT, ALIGN_WEIGHT = 0.2, 0.3


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


def word_table() -> Tensor:
    """int64 [6, most classes]: the word that names each label of each plane; -1 where there is none."""
    planes = {
        COLOR: list(COLORS),
        SHAPE: list(SHAPES),
        BIG: list(SIZES),
        ROW: list(ROWS),
        COLUMN: list(COLUMNS),
    }
    table = torch.full((6, max(PLANES)), -1)
    for plane, names in planes.items():
        for k, word in enumerate(names, start=1):
            table[plane, k] = words().index(f" {word}")
    for digit in range(10):
        table[DIGIT, 1 + digit] = words().index(str(digit))
    return table


def language_loss(
    llava: LlavaForConditionalGeneration, batch: dict[str, Tensor], table: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Stage 2, vision frozen: next token on the answers, plus alignment (a projected patch should speak the words
    that name it through the tied embeddings; without it, binding a colour to a shape waits on a long plateau)."""
    with torch.no_grad():
        seen = llava.model.vision_tower(pixel_values=batch["pixels"], output_hidden_states=True)
    visual = llava.model.multi_modal_projector(seen.hidden_states[FEATURE_LAYER][:, 1:])
    model = llava.model.language_model
    embeds = model.embed_tokens(batch["ids"]).to(visual.dtype)
    slots = (batch["ids"] == llava.config.image_token_id)[..., None]
    embeds = embeds.masked_scatter(slots, visual)
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
    right = (logits.argmax(-1) == truth).float()
    log = {"said": said.item(), "align": align.item(), "token": right.mean().item()}
    return said + ALIGN_WEIGHT * align, log | skills(right, batch["kind"][:, 1:][asked])


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
