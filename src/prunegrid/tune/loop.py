"""The training loop: AdamW and a cosine, the reducer at work in every forward pass, resumable at any step."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from prunegrid.reduce import ReducedVLM, Reducer, TextTower
from prunegrid.reduce.families import family_of
from prunegrid.tune import adapters, devices, parts
from prunegrid.tune.conversations import Conversation
from prunegrid.tune.errors import TuneError
from prunegrid.tune.order import Order
from prunegrid.tune.packing import Batch, Packer
from prunegrid.tune.recipe import Recipe
from prunegrid.tune.state import Interrupted, State, Stop


@dataclass(frozen=True)
class Losses:
    """Of one forward pass. answers: what is learnt to say; own: what the reducer's own weights learn besides, if it says
    so (`Reducer.loss`); visual: visual tokens in a layer of the language model, summed over the samples."""

    answers: torch.Tensor
    own: torch.Tensor | None
    visual: float

    def total(self, weight: float) -> torch.Tensor:
        """What gradients are taken of."""
        return self.answers if self.own is None or weight == 0 else self.answers + weight * self.own


@dataclass
class Tuner:
    """One tuning. model: a loaded LLaVA, frozen weights in the recipe's dtype; reducer: at work while it trains, its
    own weights, if it has any, trained with it; conversations: checked; seed: of adapters, order and dropout; text:
    CLIP's text tower, for reducers that read the question."""

    model: Any
    reducer: Reducer
    recipe: Recipe
    packer: Packer
    conversations: Sequence[Conversation]
    seed: int
    device: str
    before: Sequence[Path] = ()  # tunings that this one starts from, in order
    text: TextTower | None = None
    weights: dict[str, nn.Parameter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        # Without a picture there is nothing to reduce: the reducer rests.
        self._hosts = {
            shown: ReducedVLM(self.model, r, seed=self.seed, text=self.text)
            for shown, r in ((True, self.reducer), (False, Reducer()))
        }
        own = self._hosts[True].host.module
        for file in self.before:
            self.model = adapters.put_in(self.model, file, own)
        self.model, self.weights = parts.open_for(self.model, self.recipe, own)
        for host in self._hosts.values():
            host.model = self.model
        family = family_of(self.model)
        self.model.train()
        family.tower(self.model).eval()
        if own is not None:
            own.train()
        if self.recipe.checkpointing:
            family.decoder(self.model).gradient_checkpointing_enable({"use_reentrant": False})
        self.optimiser = torch.optim.AdamW(parts.groups(self.weights, self.recipe))
        self.order = Order(
            tuple(c.words for c in self.conversations),
            tuple(c.image is not None for c in self.conversations),
            self.recipe.batch,
            self.recipe.micro,
            self.seed,
            self.recipe.group,
        )

    @property
    def steps(self) -> int:
        return self.recipe.steps or self.recipe.epochs * self.order.per_epoch

    def run(self, state: State, stop: Stop, minutes: float = 10.0, show: bool = True) -> None:
        """Train to the end, from where `state` says. Raises Interrupted, with everything saved, when `stop` asks."""
        step, before = state.resume(self.weights, self.optimiser, self.device)
        began = saved = time.monotonic()
        first = devices.rank() == 0
        bar = tqdm(total=self.steps, initial=step, unit="step", mininterval=1.0, disable=not (show and first))
        with bar:
            while step < self.steps:
                if (row := self.step(step, lambda: stop.asked)) is not None:
                    step += 1
                    seconds = before + time.monotonic() - began
                    if first:
                        state.log({**row, "step": step, "seconds": seconds})
                    bar.update()
                    bar.set_postfix(loss=f"{row['loss']:.3f}", samples_per_s=f"{row['samples_per_s']:.1f}")
                leave = devices.any_of(stop.asked, self.device)
                if first and (leave or step == self.steps or time.monotonic() - saved > 60 * minutes):
                    state.save(step, before + time.monotonic() - began, self.weights, self.optimiser)
                    saved = time.monotonic()
                if leave and step < self.steps:
                    raise Interrupted(step)

    def step(self, step: int, leave: Callable[[], bool] = lambda: False) -> dict[str, float] | None:
        """One optimiser step, its loss a mean over micro-batches as LLaVA's trainer has it. None if it was given up
        half-way because `leave` says so: nothing has changed then, and it can run again."""
        began = time.monotonic()
        torch.manual_seed(self.seed * 1_000_003 + step * devices.world() + devices.rank())
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self.recipe.share(step, self.steps)
        self.optimiser.zero_grad(set_to_none=True)
        micros = self.order.micros(step)
        loss, visual, own, shown = 0.0, 0.0, 0.0, 0.0
        for batch in self._batches(micros[devices.rank() :: devices.world()]):
            if devices.world() == 1 and leave():
                return None
            made = self.forward(batch)
            value = made.total(self.recipe.own_loss_weight)
            if value.requires_grad:  # the projector alone has nothing to learn from a text
                (value / len(micros)).backward()
            loss, visual = loss + made.answers.item() / len(micros), visual + made.visual
            if made.own is not None:
                own, shown = own + made.own.item(), shown + 1
        loss, visual, own, shown = devices.summed([loss, visual, own, shown], self.device)
        if not math.isfinite(loss + own):
            raise TuneError(
                f"the loss is {loss + own} at step {step + 1}: lower `rate`, or look at the data of that step"
            )
        devices.sum_gradients(self.weights.values())
        norm = nn.utils.clip_grad_norm_(list(self.weights.values()), self.recipe.clip)
        self.optimiser.step()
        samples = sum(map(len, micros))
        return {
            "loss": loss,  # of the answers
            **(
                {"own_loss": own / shown} if shown else {}
            ),  # of the reducer, before its weight; mean of those passes
            "rate": self.optimiser.param_groups[0]["lr"],
            "gradient": float(norm),
            "samples": samples,
            "samples_per_s": samples / (time.monotonic() - began),
            "visual": visual / samples,  # visual tokens in a layer of the language model, mean
        }

    def forward(self, batch: Batch) -> Losses:
        """One forward pass, with the reducer at work where there are pictures."""
        host = self._hosts["pixel_values" in batch.inputs]
        inputs = {k: v.to(self.device) for k, v in batch.inputs.items()}
        with torch.autocast(
            self.device.split(":")[0], torch.bfloat16, enabled=self.recipe.dtype == "bfloat16"
        ):
            out, trace = host.forward(inputs, batch.labels.to(self.device), batch.ids, batch.asked)
        assert out.loss is not None
        return Losses(out.loss, out.own_loss, _visual(trace))

    def _batches(self, micros: Sequence[Sequence[int]]) -> Iterator[Batch]:
        """The next batch is read and tokenised while this one is at work."""
        dtype = getattr(torch, self.recipe.dtype)
        with ThreadPoolExecutor(1) as pool:
            ahead: deque[Future[Batch]] = deque()
            for members in micros:
                ahead.append(pool.submit(self.packer.pack, [self.conversations[i] for i in members], dtype))
                if len(ahead) > 1:
                    yield ahead.popleft().result()
            for last in ahead:
                yield last.result()


def _visual(trace: Any) -> float:
    """Visual tokens per layer of the language model, summed over the samples."""
    return sum(sum(layers) / len(layers) for layers in trace.visual)
