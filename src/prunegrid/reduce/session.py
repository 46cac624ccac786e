"""The context manager of one reduced call: open around encode + generate, it leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from prunegrid.reduce.families import Family
from prunegrid.reduce.language import LanguageSide
from prunegrid.reduce.picture import PictureSide
from prunegrid.reduce.places import Place, Site
from prunegrid.reduce.probe import PROBED, Recorder, close_recorder, open_recorder
from prunegrid.reduce.prompt import Encoded, shorten
from prunegrid.reduce.reducer import Host, Reducer
from prunegrid.reduce.trace import Trace
from prunegrid.reduce.view import PromptText
from prunegrid.reduce.vision import PLACES, VisionSide

_open: set[int] = set()  # models (by id) that a session is open on
_lock = Lock()


@dataclass
class Session:
    """One reduced call on `model`. Entering installs hooks and the probed attention, leaving removes both."""

    model: Any
    reducer: Reducer
    family: Family
    host: Host
    ids: Sequence[str] = ()
    prompt: Sequence[PromptText] = ()
    vision: VisionSide | None = None
    language: LanguageSide | None = None
    picture: PictureSide | None = None
    sites: tuple[Site, ...] = ()
    _state: Any = None
    _stack: ExitStack = field(default_factory=ExitStack)
    _encoded: Encoded | None = None

    def __enter__(self) -> Session:
        self.sites = tuple(self.reducer.sites(self.host.shape))
        self._state = self.reducer.start(self.host)
        try:
            self._claim()
            self._probed_attention()
            self._install()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _claim(self) -> None:
        """One session per model at a time: hooks belong to the model, whoever runs it."""
        key = id(self.family.core(self.model))
        with _lock:
            if key in _open:
                raise RuntimeError("another reduced call is running on this model: one at a time")
            _open.add(key)
        self._stack.callback(_open.discard, key)

    def _probed_attention(self) -> None:
        """Switch both towers to `probed_sdpa`; every cell runs with it, so that kernels never differ."""
        for part in (self.family.tower(self.model), self.family.decoder(self.model)):
            before = part.config._attn_implementation
            if torch.is_grad_enabled() and before not in ("sdpa", PROBED) and _checkpoints(part):
                raise ValueError(
                    f"attention {before!r} with gradient checkpointing: backward runs the layers again after "
                    'the call, with their own attention; load the model with attn_implementation="sdpa"'
                )
            # The modules read it there at every call; set_attn_implementation would walk through all of them each time.
            part.config._attn_implementation = PROBED
            self._stack.callback(setattr, part.config, "_attn_implementation", before)

    def _install(self) -> None:
        alone = [(s.place, s.layer, s.mid) for s in self.sites if s.place in (Place.VISION, Place.CACHE)]
        if len(set(alone)) < len(alone):
            raise ValueError(
                f"{type(self.reducer).__name__}: two sites at one layer of the ViT or of the cache"
            )
        recorder = Recorder()
        self._stack.callback(close_recorder, open_recorder(recorder))
        here = [s for s in self.sites if s.place in PLACES]
        there = [s for s in self.sites if s.place not in PLACES]
        if any(s.picture for s in there):
            self.picture = PictureSide(self.model, self.family)
            self.picture.install(self._stack.callback)
        if here:
            self.vision = VisionSide(self.model, self.family, self.reducer, self._state, recorder)
            self.vision.prompt = self.prompt
            self.vision.install(here, self.host.module, self._stack.callback)
        if there:
            self.language = LanguageSide(self.model, self.family, self.reducer, self._state, recorder)
            self.language.prompt = self.prompt
            self.language.install(there, self._stack.callback)

    def encode(self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor | None) -> Encoded:
        """Encode the pictures under the hooks and give each prompt as many placeholders as tokens survived.

        input_ids, attention_mask [B, T], pixel_values [B, 3, h, w]: one picture per sample. Raises ValueError
        where pictures and placeholders do not match.
        """
        ids = self.ids or [str(b) for b in range(len(input_ids))]
        if len(ids) != len(input_ids):
            raise ValueError(f"{len(ids)} sample ids were given for {len(input_ids)} samples")
        if len(self.prompt) not in (0, len(input_ids)):
            raise ValueError(f"{len(self.prompt)} prompt texts were given for {len(input_ids)} samples")
        features = self._features(pixel_values, ids)
        image = self.family.image_token(self.model)
        self._encoded = shorten(input_ids, attention_mask, features, image, self._pad())
        if self.language:
            self.language.ids = ids
            if self.picture and features is not None:
                self.language.picture = self.picture.taken()
            index, size = self._placed(self._encoded)
            self.language.begin(self._encoded.attention_mask.bool(), self._encoded.visual, index, size)
        return self._encoded

    def watch(self, inputs: Mapping[str, Tensor]) -> None:
        """Note what goes in where no site needs an encoding of its own: the full-token baseline's trace."""
        ids = inputs["input_ids"]
        visual = ids == self.family.image_token(self.model)
        pictures = [ids.new_empty(0)] if inputs.get("pixel_values") is not None else None
        self._encoded = Encoded(ids, inputs["attention_mask"], visual, pictures, ids)

    def loss(self) -> Tensor | None:
        """`Reducer.loss` of this call; to be asked behind the `with`, where the projector is itself again."""
        projector = self.family.projector(self.model)
        fixed = {name: weight.detach() for name, weight in projector.named_parameters()}
        return self.reducer.loss(self._state, lambda hidden: functional_call(projector, fixed, (hidden,)))

    def _pad(self) -> int:
        config = self.family.decoder(self.model).config
        return int(getattr(config, "pad_token_id", 0) or 0)

    def _features(self, pixels: Tensor | None, ids: Sequence[str]) -> list[Tensor] | None:
        """Per-image features [n_b, D]; None where there is nothing to see."""
        if pixels is None:
            return None
        edited = pixels
        for site in self.sites:
            if site.place == Place.IMAGE:
                edited = self.reducer.edit(site, edited, self._state)
        options = {"interpolate_pos_encoding": True} if edited.shape != pixels.shape else {}
        if self.vision:
            self.vision.ids = ids
        out = (
            self.family.core(self.model).get_image_features(edited, return_dict=True, **options).pooler_output
        )
        if self.vision is None or self.vision.tokens is None or not self.vision.tokens.ragged:
            return list(out)
        return [f[v] for f, v in zip(out, self.vision.tokens.valid, strict=True)]

    def _placed(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """index and size [B, T] of the prompt's tokens: the vision side's where visual, -1 and 1 for text."""
        visual = encoded.visual
        index = torch.full_like(encoded.input_ids, -1)
        size = torch.ones(visual.shape, device=visual.device)
        if self.vision and self.vision.tokens:
            known = self.vision.tokens
            index = index.masked_scatter(visual, known.index[known.valid])
            size = size.masked_scatter(visual, known.size[known.valid])
        else:
            index = torch.where(visual, visual.long().cumsum(1) - 1, index)
        return index, size

    def trace(self, new_tokens: Sequence[int] = ()) -> Trace:
        """What was done, per sample; counts that no hook saw follow from the shape. `new_tokens`: [B]."""
        encoded = self._encoded
        assert encoded is not None, "encode() first"
        batch, shape = len(encoded.input_ids), self.host.shape
        trace = Trace(new_tokens=list(new_tokens), notes=[{} for _ in range(batch)])
        if self.vision and self.vision.tokens is not None:
            self.vision.finish(trace, batch)
        else:
            seen = encoded.features is not None
            trace.embedded = [seen * shape.vision.patches] * batch
            trace.vision = [[seen * shape.vision.tokens] * shape.vision.layers for _ in range(batch)]
            trace.projector = encoded.visual.sum(1).tolist()
        if self.language and self.language.rows:
            self.language.finish(trace, shape.vision.patches)
        else:
            lengths, visual = encoded.attention_mask.sum(1).tolist(), encoded.visual.sum(1).tolist()
            trace.prompt = [[n] * shape.llm.layers for n in lengths]
            trace.visual = [[n] * shape.llm.layers for n in visual]
            if new_tokens:
                trace.cache = [
                    [n + m - 1] * shape.llm.layers for n, m in zip(lengths, new_tokens, strict=True)
                ]
        return trace


def _checkpoints(part: nn.Module) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in part.modules())
