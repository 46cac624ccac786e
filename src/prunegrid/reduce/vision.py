"""The vision side of a session: hooks on the ViT and the projector, installed and removed by the session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from prunegrid.reduce.families import Family
from prunegrid.reduce.members import Step, followed, listed
from prunegrid.reduce.ops import apply, check, pick
from prunegrid.reduce.places import Place, Site, check_probe, resolve_layer
from prunegrid.reduce.probe import Recorder, cls_rows
from prunegrid.reduce.reducer import Reducer
from prunegrid.reduce.replace import Undo, mid_block, replace_forward
from prunegrid.reduce.tokens import Tokens
from prunegrid.reduce.trace import Trace
from prunegrid.reduce.view import PromptText, Reduction, TokenView

PLACES = (Place.IMAGE, Place.VISION, Place.FEATURES, Place.PROJECTOR, Place.EMBEDS)


class VisionSide:
    """Runs a reducer's IMAGE, VISION, FEATURES, PROJECTOR and EMBEDS sites in one encoding pass."""

    def __init__(self, model: Any, family: Family, reducer: Reducer, state: Any, recorder: Recorder) -> None:
        self.family, self.reducer, self.state, self.recorder = family, reducer, state, recorder
        self.layers = family.vision_layers(model)
        self.projector = family.projector(model)
        self.source = family.feature_source(model)
        self.sites: Sequence[Site] = ()
        self.ids: Sequence[str] = ()
        self.prompt: Sequence[PromptText] = ()
        self.tokens: Tokens | None = None
        self._embedded = 0  # patches of each picture, before any method saw them
        self._prefix: Tensor | None = None  # CLS of the layer that LLaVA reads
        self._ages: dict[int, int] = {}  # ViT layer -> reductions made before it ran
        self._entering: list[Tokens] = []  # per layer
        self._projected: Tokens | None = None  # at the projector, where EMBEDS changes it later
        self._through: int | None = (
            None  # tokens that the projector still gets where a module stands in for it
        )
        self._kept: dict[str, Tokens] = {}
        self._steps: list[Step] = []
        self._notes: dict[str, Tensor] = {}
        self._words: Callable[[], Sequence[Sequence[str]]] | None = None

    # ---- install -------------------------------------------------------------------------------------
    def install(self, sites: Sequence[Site], module: nn.Module | None, undo: Undo) -> None:
        """Register what the sites need; every registration hands its removal to `undo`. `module`: the reducer's."""
        self.sites = sites
        for site in sites:
            check_probe(site, len(self.layers), "ViT")
            for k in site.probe.layers if site.probe else ():
                self.recorder.want(self._attention(k))
        for i, layer in enumerate(self.layers):
            undo(layer.register_forward_pre_hook(self._before_layer(i), with_kwargs=True).remove)
        if self.source >= 0:
            undo(self.layers[self.source].register_forward_hook(self._keep_prefix).remove)
        for site in sites:
            self._install_site(site, module, undo)

    def _attention(self, layer: int) -> nn.Module:
        module: nn.Module = self.layers[resolve_layer(layer, len(self.layers), "ViT")].self_attn
        return module

    def _install_site(self, site: Site, module: nn.Module | None, undo: Undo) -> None:
        if site.place == Place.VISION:
            self._install_in_tower(site, undo)
        elif site.place == Place.FEATURES:
            hook = self.projector.register_forward_pre_hook(
                lambda _m, args: (self._reduce(site, args[0]), *args[1:])
            )
            undo(hook.remove)
        elif site.place == Place.EMBEDS:
            undo(self.projector.register_forward_hook(lambda _m, _a, out: self._reduce(site, out)).remove)
        elif site.place == Place.PROJECTOR:
            self._replace_projector(module, undo)

    def _install_in_tower(self, site: Site, undo: Undo) -> None:
        i = resolve_layer(site.layer or 0, len(self.layers), "ViT")
        if i > self.source:
            raise ValueError(
                f"a site at ViT layer {i} changes nothing: LLaVA reads layer {self.source}'s output"
            )
        layer = self.layers[i]
        if site.mid:
            replace_forward(layer, mid_block(partial(self._split_reduce, site)), undo)
        else:
            # Before transformers' own capture hook, or LLaVA would read the unreduced features.
            undo(
                layer.register_forward_hook(
                    lambda _m, _a, out: self._split_reduce(site, out), prepend=True
                ).remove
            )

    def _replace_projector(self, module: nn.Module | None, undo: Undo) -> None:
        if module is None:
            raise ValueError(f"{type(self.reducer).__name__} has a PROJECTOR site but module() gives none")
        project = self.projector.forward  # as it is now, before this replaces it

        def through(features: Tensor) -> Tensor:
            self._through = (self._through or 0) + features.shape[1]
            out: Tensor = project(features)
            return out

        def forward(_projector: nn.Module, features: Tensor) -> Tensor:
            self._through = 0
            self._start(features)
            assert self.tokens is not None
            if self.tokens.ragged:
                raise ValueError("a PROJECTOR module takes the same number of tokens of every picture")
            out: Tensor = module(features, through, self.prompt)
            made = torch.full(out.shape[:2], -1, device=out.device)
            self.tokens = self.tokens.after(Reduction(made, made=out.shape[1]))
            return out

        replace_forward(self.projector, forward, undo)

    # ---- hooks ---------------------------------------------------------------------------------------
    def _before_layer(self, i: int) -> Callable[..., Any]:
        def hook(_module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
            hidden = args[0]
            if i == 0:
                self._start(hidden[:, self.family.prefix :])
                for site in self._sites_at(Place.IMAGE):
                    hidden = self._split_reduce(site, hidden)
            for site in self._sites_at(Place.VISION, i):
                hidden = self.reducer.edit(site, hidden, self.state)
            assert self.tokens is not None
            self._ages[i] = self.tokens.age
            self._entering.append(self.tokens)
            mask = args[1] if len(args) > 1 else kwargs.get("attention_mask")
            if self.tokens.ragged:
                mask = self._with_prefix(self.tokens.valid)
            rest = {k: v for k, v in kwargs.items() if k != "attention_mask"}
            if self.tokens.age and any(s.proportional for s in self.sites):
                size = self._with_prefix(self.tokens.size)
                rest["position_bias"] = size.clamp_min(1e-6).log().to(hidden.dtype)
            return (hidden, mask), rest

        return hook

    def _sites_at(self, place: Place, layer: int | None = None) -> list[Site]:
        here = [s for s in self.sites if s.place == place]
        return here if layer is None else [s for s in here if (s.layer or 0) % len(self.layers) == layer]

    def _with_prefix(self, known: Tensor) -> Tensor:
        """[B, N] -> [B, 1, 1, P+N], ones for the prefix."""
        return torch.cat([known.new_ones(len(known), self.family.prefix), known], 1)[:, None, None, :]

    def _keep_prefix(self, _module: nn.Module, _args: tuple, output: Tensor) -> None:
        self._prefix = output[:, : self.family.prefix]

    # ---- reduce --------------------------------------------------------------------------------------
    def _start(self, tokens: Tensor) -> None:
        if self.tokens is None:
            self._embedded = tokens.shape[1]
            self.tokens = Tokens.fresh(tokens.shape[0], self._embedded, tokens.device)

    def _split_reduce(self, site: Site, hidden: Tensor) -> Tensor:
        prefix, tokens = hidden[:, : self.family.prefix], hidden[:, self.family.prefix :]
        return torch.cat([prefix, self._reduce(site, tokens, prefix)], 1)

    def _reduce(self, site: Site, tokens: Tensor, prefix: Tensor | None = None) -> Tensor:
        self._start(tokens)
        assert self.tokens is not None
        if site.place == Place.FEATURES:
            prefix = self._prefix
        if prefix is None:
            prefix = tokens[:, :0]
        view = self._view(site, tokens, prefix)
        r = self.reducer.reduce(site, view, self.state)
        if r is None:
            return tokens
        who = f"{type(self.reducer).__name__} at {site.place}"
        out = apply(check(r, len(tokens), tokens.shape[1], who), tokens, prefix)
        if site.place == Place.EMBEDS and self._projected is None:
            self._projected = self.tokens
        self._steps.append(Step(r, self.tokens.valid, prefix.shape[1]))
        self.tokens = self.tokens.after(r)
        layer = "" if site.layer is None else resolve_layer(site.layer, len(self.layers), "ViT")
        self._kept[f"{site.place}{layer}"] = self.tokens
        self._notes.update(r.note)
        self._words = r.words or self._words
        return out

    def _view(self, site: Site, tokens: Tensor, prefix: Tensor) -> TokenView:
        assert self.tokens is not None
        known, probe = self.tokens, site.probe
        view = TokenView(
            tokens=tokens,
            valid=known.valid,
            visual=known.valid,
            index=known.index,
            position=torch.arange(tokens.shape[1], device=tokens.device).expand(tokens.shape[:2]),
            size=known.size,
            prefix=prefix,
            ids=self.ids,
            layer=site.layer,
            full=not known.ragged,
            prompt=self.prompt,
        )
        if probe is None:
            return view
        records = {k: self.recorder.record(self._attention(k)) for k in probe.layers}
        columns = {k: self._columns(k) for k in probe.layers}
        return replace(
            view,
            records=records,
            columns=columns,
            attended={k: cls_rows(r) for k, r in records.items()} if probe.queries else {},
            keys={k: pick(r.key, columns[k]) for k, r in records.items()} if probe.keys else {},
            values={k: pick(r.value, columns[k]) for k, r in records.items()} if probe.values else {},
        )

    def _columns(self, layer: int) -> Tensor:
        assert self.tokens is not None
        age = self._ages[resolve_layer(layer, len(self.layers), "ViT")]
        return self.tokens.columns_at(age, layer) + self.family.prefix

    def finish(self, trace: Trace, batch: int) -> None:
        """Write the vision side into the trace; the only place that moves counts off the device."""
        assert self.tokens is not None
        # A layer with a site in its middle hands its MLP what that site left.
        mid = {resolve_layer(s.layer or 0, len(self.layers), "ViT") for s in self.sites if s.mid}
        mlp = [
            self._kept.get(f"{Place.VISION}{i}", t) if i in mid else t for i, t in enumerate(self._entering)
        ]
        projected = self._projected or self.tokens
        counts = {id(t): t.counts() for t in (*self._entering, *mlp, projected)}
        extra = self.family.prefix
        trace.embedded = [self._embedded] * batch
        trace.vision = [[counts[id(t)][b] + extra for t in self._entering] for b in range(batch)]
        if mid:
            trace.vision_mlp = [[counts[id(t)][b] + extra for t in mlp] for b in range(batch)]
        trace.projector = counts[id(projected)]
        if self._through is not None:
            trace.projector = [self._through] * batch
        trace.kept |= {place: tokens.kept() for place, tokens in self._kept.items()}
        if any(step.reduction.mixes for step in self._steps):
            start = [[frozenset({i}) for i in range(self._embedded)] for _ in range(batch)]
            trace.members = listed(followed(start, self._steps), self.tokens.valid)
        trace.note(self._notes, self._words() if self._words else ())
