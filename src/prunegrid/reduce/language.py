"""The language side of a session: PROMPT and CACHE sites, and the rows, masks and positions of every layer.

After a per-layer reduction the layers no longer agree on which prompt rows exist. Each layer keeps its
`Rows`: which columns of the full prompt its tokens are. Masks and rotary tables follow from them; nothing
is re-derived from lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from prunegrid.reduce.ahead import ahead
from prunegrid.reduce.cache import CacheSide
from prunegrid.reduce.families import Family
from prunegrid.reduce.ghost import Ghost
from prunegrid.reduce.members import Step, entered, followed, listed
from prunegrid.reduce.ops import check, gather, pick
from prunegrid.reduce.picture import Picture
from prunegrid.reduce.places import Place, Site, check_probe, resolve_layer
from prunegrid.reduce.probe import Record, Recorder
from prunegrid.reduce.reducer import Reducer
from prunegrid.reduce.rows import Rows, attended, ordinal, rewrite
from prunegrid.reduce.trace import Trace
from prunegrid.reduce.view import PromptText, TokenView


class LanguageSide:
    """Runs a reducer's PROMPT and CACHE sites during prefill and decoding."""

    def __init__(self, model: Any, family: Family, reducer: Reducer, state: Any, recorder: Recorder) -> None:
        self.reducer, self.state, self.recorder = reducer, state, recorder
        self.decoder = family.decoder(model)
        self.layers = family.llm_layers(model)
        self.ids: Sequence[str] = ()
        self.prompt: Sequence[PromptText] = ()
        self.picture: Picture | None = None
        self.step = -1
        self.rows: list[Rows] = []  # of each layer at prefill
        self.cache = CacheSide(self)
        self._full: Rows | None = None
        self._masks: dict[int, Tensor | None] = {}  # age -> causal mask of narrowed rows
        self._notes: dict[str, Tensor] = {}
        self._words: Callable[[], Sequence[Sequence[str]]] | None = None
        self._sites: dict[int, list[Site]] = {}  # at PROMPT, by layer
        self._renumbered = False
        self._steps: list[Step] = []

    # ---- install -------------------------------------------------------------------------------------
    def install(self, sites: Sequence[Site], undo: Callable[[Callable[[], None]], Any]) -> None:
        """Register what the sites need; every registration hands its removal to `undo`."""
        for site in sites:
            check_probe(site, len(self.layers), "LLM")
            for layer in site.probe.layers if site.probe else ():
                self.recorder.want(self.attention(layer))
            by = self._sites if site.place == Place.PROMPT else self.cache.sites
            by.setdefault(self.layer(site.layer or 0), []).append(site)
            self._renumbered |= site.positions == "renumber"
        undo(self.decoder.register_forward_pre_hook(self._before_model, with_kwargs=True).remove)
        for i, module in enumerate(self.layers):
            undo(module.register_forward_pre_hook(self._before_layer(i), with_kwargs=True).remove)
            if i in self.cache.sites:
                after = self.cache.after_attention(i)
                undo(module.self_attn.register_forward_hook(after, with_kwargs=True).remove)

    def layer(self, layer: int) -> int:
        return resolve_layer(layer, len(self.layers), "LLM")

    def attention(self, layer: int) -> Any:
        return self.layers[self.layer(layer)].self_attn

    def begin(self, valid: Tensor, visual: Tensor, index: Tensor, size: Tensor) -> None:
        """Tell what the coming prompt [B, T] holds: valid, visual bool; index (-1 = text), size."""
        self._full = Rows.full(valid, visual, index, size)
        for b, (prompt, held, seen) in enumerate(
            zip(self.prompt, self._full.held, self._full.seen, strict=False)
        ):
            if prompt.spans and len(prompt.spans) != held - seen:
                raise ValueError(
                    f"prompt {b} has {held - seen} text tokens, but its PromptText has {len(prompt.spans)} spans; "
                    "give one per token that is no image placeholder"
                )

    # ---- hooks ---------------------------------------------------------------------------------------
    def _before_model(self, _module: nn.Module, _args: tuple, kwargs: dict) -> None:
        self.step += 1
        if self.step == 0:
            assert self._full is not None
            if kwargs["inputs_embeds"].shape[:2] != self._full.row.shape:
                raise ValueError(
                    f"the prompt {list(kwargs['inputs_embeds'].shape[:2])} is not the one that was encoded, "
                    f"{list(self._full.row.shape)}: in-LLM reduction needs the whole prompt in one pass"
                )

    def _before_layer(self, i: int) -> Callable[..., Any]:
        def hook(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            if self.step > 0:
                return args, self._decode_kwargs(i, args[0], kwargs)
            hidden, rows = args[0], self.rows[-1] if self.rows else self._full
            assert rows is not None
            for site in self._sites.get(i, ()):
                hidden = self.reducer.edit(site, hidden, self.state, rows.valid)
                hidden, rows = self._narrow(site, hidden, rows)
            self.rows.append(rows)
            changed = self._prefill_kwargs(rows, hidden, kwargs) if rows.past else kwargs
            return (hidden, *args[1:]), changed

        return hook

    def _prefill_kwargs(self, rows: Rows, hidden: Tensor, kwargs: dict) -> dict:
        age = len(rows.past)
        if age not in self._masks:
            self._masks = {age: rows.mask()}
        rotary = self.decoder.rotary_emb(hidden, position_ids=rows.position)
        return dict(
            kwargs, attention_mask=self._masks[age], position_ids=rows.position, position_embeddings=rotary
        )

    def _decode_kwargs(self, i: int, hidden: Tensor, kwargs: dict) -> dict:
        changed = dict(kwargs, attention_mask=self.cache.mask(i))
        if self._renumbered and self.rows[i].past:
            assert self._full is not None
            drift = self._full.position[:, -1:] - self.rows[i].position[:, -1:]
            position = kwargs["position_ids"] - drift
            rotary = self.decoder.rotary_emb(hidden, position_ids=position)
            changed |= {"position_ids": position, "position_embeddings": rotary}
        return changed

    # ---- PROMPT --------------------------------------------------------------------------------------
    def _narrow(self, site: Site, hidden: Tensor, rows: Rows) -> tuple[Tensor, Rows]:
        """Ask the reducer, then drop what it drops: [B, T, D] -> [B, T', D]."""
        everything, length = site.scope == "all", rows.row.shape[1]
        scope = rows.valid if everything else rows.valid & rows.visual
        counts = rows.held if everything else rows.seen
        count, full = max(counts), len(set(counts)) == 1
        if count == 0:
            return hidden, rows
        columns = (
            (~scope).to(torch.int8).argsort(dim=1, stable=True)[:, :count]
        )  # those in scope first, in order
        view = self._view(site, hidden, rows, columns, scope.gather(1, columns), full)
        r = self.reducer.reduce(site, view, self.state)
        if r is None:
            return hidden, rows
        check(r, len(hidden), count, f"{type(self.reducer).__name__} at {site.place} {site.layer}")
        self._notes.update(r.note)
        self._words = r.words or self._words
        hidden, rows, stay, origin = rewrite(r, view, hidden, rows, columns, scope)
        if everything:
            stay[:, length - 1] = True  # the last token speaks next
        known = full and r.valid is None and not everything and (r.pure or r.made is not None)
        rows = self._recount(rows, stay, r.keep.shape[1] - count if known else None)
        width = max(rows.held)
        # Dropped tokens that fill up ragged rows go to the left, as padding does; others keep their order.
        order = (rows.row * 2 + (origin < 0)).masked_fill(~stay, -1).argsort(dim=1, stable=True)[:, -width:]
        self._steps.append(Step(r, view.valid, columns=columns, order=order))
        past = (*rows.past, origin.gather(1, order))
        pure = (*rows.pure, origin.shape[1] == length)
        rows = replace(rows, valid=stay, past=past, pure=pure, dense=min(rows.held) == width).take(order)
        if site.positions == "renumber":
            rows = replace(rows, position=ordinal(rows.valid))
        return gather(hidden, order), rows

    @staticmethod
    def _recount(rows: Rows, stay: Tensor, more: int | None) -> Rows:
        """The counts on the host after `stay`; `more`: visual tokens that each sample gained, where that is known
        without asking the device."""
        if more is not None:
            held, seen = ([n + more for n in counts] for counts in (rows.held, rows.seen))
            return replace(rows, held=tuple(held), seen=tuple(seen))
        held, seen = torch.stack((stay.sum(1), (stay & rows.visual).sum(1))).tolist()
        return replace(rows, held=tuple(held), seen=tuple(seen), behind=None)

    def _view(
        self, site: Site, hidden: Tensor, rows: Rows, columns: Tensor, valid: Tensor, full: bool
    ) -> TokenView:
        part, probe = rows.take(columns), site.probe
        view = TokenView(
            tokens=gather(hidden, columns),
            valid=valid,
            visual=part.visual,
            index=part.index,
            position=part.position,
            size=part.size,
            prefix=hidden[:, :0],
            ids=self.ids,
            layer=site.layer,
            prompt=self.prompt,
            full=full,
            picture=self.picture if site.picture else None,
        )
        if probe is None:
            return view
        seen = {
            k: self.rows[i] if i < len(self.rows) else rows for k in probe.layers for i in (self.layer(k),)
        }
        records = {k: self._record(k, hidden, rows) for k in probe.layers}
        where = {k: rows.columns_at(len(then.past), k).gather(1, columns) for k, then in seen.items()}
        return replace(
            view,
            records=records,
            columns=where,
            ghosts={k: self._ghost(k, r, seen[k]) for k, r in records.items()},
            attended={k: attended(r, probe.queries, seen[k]) for k, r in records.items()}
            if probe.queries
            else {},
            keys={k: pick(r.key, where[k]) for k, r in records.items()} if probe.keys else {},
            values={k: pick(r.value, where[k]) for k, r in records.items()} if probe.values else {},
        )

    def _record(self, layer: int, hidden: Tensor, rows: Rows) -> Record:
        i = self.layer(layer)
        if i < len(self.rows):
            return self.recorder.record(self.attention(layer))
        return ahead(self.decoder, i, hidden, rows.position, rows.valid)

    def _ghost(self, layer: int, record: Record, rows: Rows) -> Ghost:
        return Ghost(self.layers[self.layer(layer)], self.decoder.rotary_emb, record, rows)

    def finish(self, trace: Trace, patches: int) -> None:
        """Write the language side into the trace; `trace.new_tokens` must be known. `patches` of the grid."""
        trace.prompt = _transpose([r.held for r in self.rows])
        trace.visual = _transpose([r.seen for r in self.rows])
        trace.cache = _transpose(self.cache.lengths(trace.new_tokens)) if trace.new_tokens else []
        if self.cache.cut:
            trace.held = _transpose(self.cache.lengths([1] * len(trace.prompt)))
        for i in self._sites:
            rows = self.rows[i]
            live = rows.valid & rows.visual
            trace.kept[f"{Place.PROMPT}{i}"] = [x[v].tolist() for x, v in zip(rows.index, live, strict=True)]
        if trace.members or any(step.reduction.mixes for step in self._steps):
            assert self._full is not None
            first, last = self._full, self.rows[-1]
            start = entered(trace.members, first.index, first.valid & first.visual)
            trace.members = listed(followed(start, self._steps), last.valid & last.visual)
        trace.cached = self.cache.shares(patches)
        trace.note(self._notes | self.cache.notes, self._words() if self._words else ())


def _transpose(columns: Sequence[Sequence[int]]) -> list[list[int]]:
    return [list(row) for row in zip(*columns, strict=True)]
