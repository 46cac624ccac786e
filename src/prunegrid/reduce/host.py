"""`ReducedVLM`: a LLaVA-type model with a reduction method in it; the only public entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling, CausalLMOutputWithPast

from prunegrid.reduce.families import Family, family_of
from prunegrid.reduce.flops import Flops, Seen
from prunegrid.reduce.prompt import Encoded
from prunegrid.reduce.reducer import Host, Reducer
from prunegrid.reduce.session import Session
from prunegrid.reduce.text import TextTower
from prunegrid.reduce.trace import Trace
from prunegrid.reduce.view import PromptText
from prunegrid.shape import ModelShape

# Settings of `generate`: the values that are fine (absent always is), and why no other one is.
SUPPORTED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "num_beams": ((1,), "beam search reorders the cache"),
    "num_return_sequences": ((1,), "the samples would be repeated behind the reducer's back"),
    "assistant_model": ((), "assisted generation rolls the cache back"),
    "prompt_lookup_num_tokens": ((), "assisted generation rolls the cache back"),
    "custom_generate": ((), "its steps are unknown"),
    "guidance_scale": ((1,), "guidance runs the model twice per step"),
    "past_key_values": ((), "a cache of an earlier turn no longer matches its prompt"),
    "use_cache": ((True,), "what was dropped must stay dropped at the next step"),
    "cache_implementation": (("dynamic",), "only the dynamic cache can shrink"),
    "prefill_chunk_size": ((), "the prompt must pass in one piece"),
    "return_dict_in_generate": ((False,), "tokens and the trace are what is returned"),
}


@dataclass
class Passed(CausalLMOutputWithPast):
    """One pass. loss: of the answers; own_loss: what a reducer's own weights are to learn besides, not weighted, and
    no part of `loss`; None where there is nothing of the kind."""

    own_loss: Tensor | None = None


class ReducedVLM:
    """`model` (a LlavaForConditionalGeneration, plain or inside PEFT) answering with `reducer` at work.

    The model is touched only inside a call; afterwards it is as it was. `seed`: for reducers that draw lots. `text`:
    CLIP's text tower, for reducers that read the prompt (`reads_text`); without it they raise ValueError.
    """

    def __init__(
        self,
        model: Any,
        reducer: Reducer,
        family: Family | None = None,
        seed: int = 0,
        text: TextTower | None = None,
    ) -> None:
        if reducer.reads_text and text is None:
            raise ValueError(
                f"{type(reducer).__name__} compares words with the picture: give ReducedVLM the CLIP that the vision "
                "tower is from, text=TextTower(clip, tokenizer)"
            )
        self.model, self.reducer = model, reducer
        self.family = family or family_of(model)
        shape = ModelShape.from_config(self.family.core(model).config.to_dict())
        module = reducer.module(shape)
        if module is not None:
            module.to(next(self.family.projector(model).parameters()))
        self.host = Host(shape, seed, module, text)

    @torch.no_grad()
    def generate(
        self,
        inputs: Mapping[str, Tensor],
        ids: Sequence[str] = (),
        prompt: Sequence[PromptText] = (),
        **decoding: Any,
    ) -> tuple[Tensor, Trace]:
        """inputs: input_ids, attention_mask [B, T] left-padded, pixel_values [B, 3, h, w] or absent. `ids`:
        of the samples, the only source of per-sample randomness. `prompt`: their texts. Returns new tokens
        [B, new] and the trace.

        Raises ValueError for beams, assisted generation, reuse of an earlier cache and the like.
        """
        for name, (fine, why) in SUPPORTED.items():
            value = self._setting(name, {**inputs, **decoding})
            if value is not None and value not in fine:
                raise ValueError(f"{name}={value!r} is not supported with token reduction: {why}")
        with self._session(ids, prompt) as session:
            if session.sites:
                encoded = self._encode(session, inputs)
                out = self.model.generate(**self._handed(encoded), **decoding)
                new = out[:, encoded.input_ids.shape[1] :]
            else:
                out = self.model.generate(**inputs, **decoding)
                new = out[:, inputs["input_ids"].shape[1] :]
                session.watch(inputs)
            return new, session.trace(_lengths(new, self._setting("eos_token_id", decoding)))

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        labels: Tensor | None = None,
        ids: Sequence[str] = (),
        prompt: Sequence[PromptText] = (),
    ) -> tuple[Passed, Trace]:
        """One pass, for training and for logits. labels [B, T] as in `inputs`; -100 = no loss. The loss is
        over the rows that reach the last layer. Gradients flow; when you call backward the model is already
        as it was. CACHE sites rest: there is no cache."""
        with self._session(ids, prompt) as session:
            encoded = self._encode(session, inputs)
            position = (encoded.attention_mask.long().cumsum(1) - 1).clamp_min(0)
            out = self.model(**self._handed(encoded), position_ids=position, use_cache=False)
            loss: Any = None
            if labels is not None:
                kept = encoded.labels(labels)
                if session.language:
                    rows = session.language.rows[-1]
                    kept = kept.gather(1, rows.row).masked_fill(~rows.valid | rows.visual, -100)
                loss = F.cross_entropy(out.logits[:, :-1].flatten(0, 1).float(), kept[:, 1:].flatten())
            trace = session.trace()
        own = None if labels is None else session.loss()
        return Passed(loss=loss, logits=out.logits, own_loss=own), trace

    def flops(self, row: Mapping[str, Any], prompt: PromptText | None = None) -> Flops | None:
        """What the reducer itself computed for one sample, `row` as `Trace.sample` gives it; `prompt`: as the call got
        it. None: the method does not state it, or it reads a prompt that is not given."""
        return self.reducer.flops(self.host, Seen.of(row, prompt))

    def row(self, trace: Trace, b: int, prompt: PromptText | None = None) -> dict[str, Any]:
        """Sample b of a trace as it is kept: with `reducer_flops`, the total of `flops`."""
        row = trace.sample(b)
        own = self.flops(row, prompt)
        return {**row, "reducer_flops": None if own is None else own.total}

    def _session(self, ids: Sequence[str], prompt: Sequence[PromptText]) -> Session:
        return Session(self.model, self.reducer, self.family, self.host, ids, prompt)

    def _encode(self, session: Session, inputs: Mapping[str, Tensor]) -> Encoded:
        return session.encode(inputs["input_ids"], inputs["attention_mask"], inputs.get("pixel_values"))

    def _handed(self, encoded: Encoded) -> dict[str, Any]:
        handed: dict[str, Any] = {"input_ids": encoded.input_ids, "attention_mask": encoded.attention_mask}
        if encoded.features is not None and any(len(f) for f in encoded.features):
            output = BaseModelOutputWithPooling(pooler_output=self.family.hand_over(encoded.features))
            handed["mm_encoder_outputs"] = {"image": output}
        return handed

    def _setting(self, name: str, given: Mapping[str, Any]) -> Any:
        """What `generate` goes by: its own argument, else the configuration given to it, else the model's."""
        if name in given:
            return given[name]
        configs = (given.get("generation_config"), self.model.generation_config)
        return next((v for v in (getattr(config, name, None) for config in configs) if v is not None), None)


def _lengths(new: Tensor, eos: int | Sequence[int] | None) -> list[int]:
    """new [B, n] -> tokens up to and with the first end-of-sequence, per sample."""
    if eos is None:
        return [new.shape[1]] * len(new)
    ended = torch.isin(new, torch.as_tensor(eos, device=new.device))
    before = (ended.long().cumsum(1) == 0).sum(1)
    return (before + 1).clamp_max(new.shape[1]).tolist()
