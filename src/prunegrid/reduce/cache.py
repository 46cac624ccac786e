"""The CACHE place: eviction from one layer's KV cache after prefill and after every decode step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from prunegrid.reduce.ghost import Beside
from prunegrid.reduce.ops import check, pick
from prunegrid.reduce.places import Site
from prunegrid.reduce.rows import attended
from prunegrid.reduce.view import Reduction, TokenView

if TYPE_CHECKING:
    from prunegrid.reduce.language import LanguageSide


@dataclass(frozen=True)
class Held:
    """What one layer's cache holds, [B, h, L] each: h = 1 while all KV heads agree, else Hkv."""

    position: Tensor
    valid: Tensor
    visual: Tensor
    index: Tensor
    size: Tensor

    def take(self, columns: Tensor) -> Held:
        """columns [B, h', L'], h' = h or Hkv."""

        def at(x: Tensor) -> Tensor:
            return x.expand(-1, columns.shape[1], -1).gather(2, columns)

        return Held(at(self.position), at(self.valid), at(self.visual), at(self.index), at(self.size))

    def grown(self, position: Tensor) -> Held:
        """One more token, text, at `position` [B, 1]."""

        def add(x: Tensor, new: Tensor | int) -> Tensor:
            column = x.new_empty(*x.shape[:2], 1)
            return torch.cat([x, column.copy_(new) if isinstance(new, Tensor) else column.fill_(new)], 2)

        return Held(
            add(self.position, position[:, None]),
            add(self.valid, True),
            add(self.visual, False),
            add(self.index, -1),
            add(self.size, 1),
        )


class CacheSide:
    """Per layer with CACHE sites what its cache holds and the reductions there; of every layer the decode mask."""

    def __init__(self, language: LanguageSide) -> None:
        self.language = language
        self.sites: dict[int, list[Site]] = {}
        self.held: dict[int, Held] = {}
        self.notes: dict[str, Tensor] = {}
        self._most: dict[
            int, int
        ] = {}  # known without asking the device: no sample holds more tokens in scope
        self._dense: dict[int, bool] = {}  # no padding in this layer's cache: it needs no mask
        self._after: dict[int, Held] = {}  # where prefill ended with an eviction: what was held then
        self._lengths: dict[
            int, list[Tensor]
        ] = {}  # where something is evicted: tokens held [B] after each step

    def mask(self, layer: int) -> Tensor | None:
        """[B, h or H, 1, L+1] bool for the next decode step of this layer; None where nothing is hidden."""
        if layer not in self.sites:  # the prompt's rows, and one more token per step
            rows = self.language.rows[layer]
            return (
                None if rows.dense else F.pad(rows.valid, (0, self.language.step), value=True)[:, None, None]
            )
        if self._dense[layer]:
            return None
        valid = self.held[layer].valid
        grown = torch.cat([valid, valid.new_ones(*valid.shape[:2], 1)], 2)
        if grown.shape[1] > 1:
            heads = self.language.attention(layer).config.num_attention_heads
            grown = grown.repeat_interleave(heads // grown.shape[1], 1)
        return grown[:, :, None]

    def after_attention(self, layer: int) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: tuple, kwargs: dict, _output: Any) -> None:
            cache = kwargs.get("past_key_values")
            if cache is None or isinstance(cache, Beside):
                return
            if self.language.step == 0:
                rows = self.language.rows[layer]
                kinds = (rows.position, rows.valid, rows.visual, rows.index, rows.size)
                self.held[layer] = Held(*(x[:, None] for x in kinds))
                self._dense[layer] = rows.dense
            else:
                self.held[layer] = self.held[layer].grown(kwargs["position_ids"])
            for site in self.sites[layer]:
                self._count(site, layer)
                self._evict(site, layer, cache.layers[layer])
            self._lengths.setdefault(layer, []).append(self.held[layer].valid.float().sum(2).mean(1))

        return hook

    def _count(self, site: Site, layer: int) -> None:
        """Every step adds one token, text, to all samples."""
        rows, everything = self.language.rows[layer], site.scope == "all"
        if self.language.step == 0:
            self._most[layer] = max(rows.held if everything else rows.seen)
        else:
            self._most[layer] += everything

    def _evict(self, site: Site, layer: int, slot: Any) -> None:
        """Ask the reducer, then drop what it drops from the cache and from what is held."""
        held = self.held[layer]
        scope = held.valid if site.scope == "all" else held.valid & held.visual
        count = self._most[layer]
        if count == 0:
            return
        columns = (~scope).to(torch.int8).argsort(dim=2, stable=True)[:, :, :count]  # [B, h, N]
        view = self._view(site, layer, slot, columns, scope.gather(2, columns))
        r = self.language.reducer.reduce(site, view, self.language.state)
        if r is None:
            return
        who = f"{type(self.language.reducer).__name__} at {site.place} {layer}"
        if r.mixes:
            raise ValueError(
                f"{who}: a reduction of the cache selects; merging keys and values is not supported"
            )
        check(Reduction(r.keep, valid=r.valid), len(slot.keys), count, who)
        self.notes.update(r.note)
        keep = r.keep if r.keep.dim() == 3 else r.keep[:, None]
        self._most[layer] = keep.shape[2]
        heads = slot.keys.shape[1]
        if keep.shape[1] not in (1, heads):
            raise ValueError(
                f"{who}: keep {list(keep.shape)} must have a row for each of the {heads} KV heads"
            )
        agreed = max(keep.shape[1], columns.shape[1])
        keep, columns, scope = (x.expand(-1, agreed, -1) for x in (keep, columns, scope))
        if r.valid is None:
            real = scope.gather(2, columns).gather(2, keep)
        else:
            real = (r.valid if r.valid.dim() == 3 else r.valid[:, None]).expand_as(keep)
        self._drop(layer, slot, scope, columns.gather(2, keep), real)

    def _drop(self, layer: int, slot: Any, scope: Tensor, kept: Tensor, real: Tensor) -> None:
        """Keep what is out of `scope` [B, h, L] and, of it, the columns `kept` [B, h, n] that are `real`."""
        held, length = self.held[layer], scope.shape[2]
        target = kept.masked_fill(~real, length)  # a spill column takes what must not be written
        stay = torch.cat([~scope, scope.new_zeros(*scope.shape[:2], 1)], 2).scatter(2, target, True)
        stay = stay[:, :, :length] & held.valid
        counts = stay.sum(2)
        width, least = torch.stack((counts.max(), counts.min())).tolist()
        # Fillers of ragged rows to the left, the rest in order: the newest token stays last.
        order = torch.arange(length, device=stay.device).expand_as(stay).masked_fill(~stay, -1)
        order = order.argsort(dim=2, stable=True)[:, :, length - width :]
        self.held[layer] = Held(held.position, stay, held.visual, held.index, held.size).take(order)
        self._dense[layer] = least == width
        if self.language.step == 0:
            self._after[layer] = self.held[layer]
        slot.keys, slot.values = pick(slot.keys, order), pick(slot.values, order)

    def _view(self, site: Site, layer: int, slot: Any, columns: Tensor, valid: Tensor) -> TokenView:
        """One view for all heads while they agree; afterwards position, index and so on are [B, Hkv, N]."""
        language, probe, part = self.language, site.probe, self.held[layer].take(columns)

        def flat(x: Tensor) -> Tensor:
            return x[:, 0] if columns.shape[1] == 1 else x

        keys, values = pick(slot.keys, columns), pick(slot.values, columns)
        records = {
            k: language.recorder.record(language.attention(k)) for k in (probe.layers if probe else ())
        }
        queries = probe.queries if probe and (language.step == 0 or not probe.queries) else "last"
        return TokenView(
            tokens=keys.transpose(1, 2).flatten(2),
            valid=flat(valid),
            visual=flat(part.visual),
            index=flat(part.index),
            position=flat(part.position),
            size=flat(part.size),
            prefix=keys.new_zeros(len(keys), 0, keys.shape[1] * keys.shape[3]),
            ids=language.ids,
            step=language.step,
            layer=layer,
            prompt=language.prompt,
            keys={layer: keys},
            values={layer: values},
            records=records,
            attended={k: attended(r, queries, language.rows[layer]) for k, r in records.items()}
            if queries
            else {},
            columns=dict.fromkeys(records, flat(columns)),
        )

    def shares(self, patches: int) -> list[list[int]]:
        """Per sample and patch the percentage of (layer, KV head) pairs that held it when prefill was over; empty where
        nothing had been evicted. Tokens that stand for no single patch count nowhere."""
        if not self._after:
            return []
        total = torch.zeros(())
        for i, rows in enumerate(self.language.rows):
            kinds = (rows.position, rows.valid, rows.visual, rows.index, rows.size)
            held = self._after.get(i) or Held(*(x[:, None] for x in kinds))
            index = held.index.expand_as(held.valid)
            live = held.valid & held.visual & (index >= 0)
            count = torch.zeros(len(live), patches, device=live.device)
            count = count.scatter_add(1, index.clamp_min(0).flatten(1), live.flatten(1).float())
            total = total.to(count) + count / live.shape[1]
        shares: list[list[int]] = (total * (100 / len(self.language.rows))).round().long().tolist()
        return shares

    @property
    def cut(self) -> bool:
        """Whether some layer's cache may have been evicted from."""
        return bool(self._lengths)

    def lengths(self, new: list[int]) -> list[list[int]]:
        """Per layer, per sample: tokens held once the sample's last of `new` tokens is made (1: when prefill is over)."""
        lengths = []
        for layer, rows in enumerate(self.language.rows):
            if layer in self._lengths:
                after = torch.stack(self._lengths[layer], 1).tolist()  # [B, steps]
                lengths.append([round(steps[n - 1]) for steps, n in zip(after, new, strict=True)])
            else:
                lengths.append([held + n - 1 for held, n in zip(rows.held, new, strict=True)])
        return lengths
