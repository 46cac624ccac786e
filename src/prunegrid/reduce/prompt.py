"""The hand-over between vision and language: as many placeholders as visual tokens survived."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Encoded:
    """A left-padded batch whose placeholders match its features. visual [B, T]: which columns they are;
    features [n_b, D] of each picture, None without pictures."""

    input_ids: Tensor
    attention_mask: Tensor
    visual: Tensor
    features: list[Tensor] | None
    origin: Tensor = field(repr=False)  # [B, T] column in the prompt as given, -1 = padding or placeholder

    def labels(self, labels: Tensor) -> Tensor:
        """labels [B, T_given] -> [B, T]: they follow their tokens; placeholders and padding get -100."""
        return labels.gather(1, self.origin.clamp_min(0)).masked_fill(self.origin < 0, -100)


def shorten(
    input_ids: Tensor, attention_mask: Tensor, features: list[Tensor] | None, image_token: int, pad: int
) -> Encoded:
    """Rebuild the prompts with n_b placeholders for sample b's features and pad them on the left.

    Works on the host: prompts are short, and one copy each way costs less than many small kernels.
    """
    ids, mask = input_ids.cpu(), attention_mask.cpu().bool()
    device, rows = input_ids.device, []
    counts = [0] * len(ids) if features is None else [len(f) for f in features]
    if len(counts) != len(ids):
        raise ValueError(
            f"{len(counts)} pictures for {len(ids)} prompts: give exactly one picture per prompt"
        )
    for b, count in enumerate(counts):
        columns = mask[b].nonzero().squeeze(1)
        slots = ids[b, columns] == image_token
        if not bool(slots.any()):
            if count:
                raise ValueError(
                    f"prompt {b} has no image placeholder (token {image_token}) for its {count} tokens"
                )
            rows.append(columns)
            continue
        if features is None:
            raise ValueError(
                f"prompt {b} has image placeholders (token {image_token}), but no pictures were given"
            )
        places = slots.nonzero().squeeze(1)
        if int(places[-1] - places[0]) + 1 != len(places):
            raise ValueError(
                f"prompt {b} has placeholders in several places: one picture per prompt is supported"
            )
        start, end = int(places[0]), int(places[-1]) + 1
        rows.append(torch.cat([columns[:start], columns.new_full((count,), -1), columns[end:]]))
    length = max(len(r) for r in rows)
    origin = torch.stack([torch.cat([r.new_full((length - len(r),), -2), r]) for r in rows])
    visual, real = origin == -1, origin != -2
    out = ids.gather(1, origin.clamp_min(0))
    out = out.masked_fill(visual, image_token).masked_fill(~real, pad)
    moved = (x.to(device) for x in (out, real.to(attention_mask.dtype), visual, origin.clamp_min(-1)))
    new_ids, new_mask, new_visual, new_origin = moved
    return Encoded(new_ids, new_mask, new_visual, features, new_origin)
