"""Train the mini model in two stages, resumable at any step; deterministic given the seed and the thread count.

`python -m prunegrid.mini.train vision FOLDER` then `... language FOLDER`; `... save FOLDER OUT` writes the checkpoint.
FOLDER holds one state per stage (weights, optimiser, step) and metrics.jsonl; a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from prunegrid.mini.batches import Batches
from prunegrid.mini.losses import PatchHeads, language_loss, vision_loss
from prunegrid.mini.model import build, save
from prunegrid.mini.pointing import word_table

Loss = Callable[[dict[str, Tensor]], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class Plan:
    """What one stage trains with."""

    stage: str
    steps: int
    size: int  # pictures per step
    rate: float  # peak learning rate
    warmup: int
    questions: int = 0
    ramp: int = 0
    seed: int = 0

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then a cosine down to 2 %."""
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps)))
        return self.rate * min(1.0, (step + 1) / self.warmup) * (0.98 * fall + 0.02)


PLANS = {
    "vision": Plan("vision", steps=850, size=128, rate=1e-3, warmup=100),
    "language": Plan("language", steps=3750, size=32, rate=2e-3, warmup=100, questions=16, ramp=300),
}


def fit(plan: Plan, modules: nn.ModuleDict, loss: Loss, folder: Path, every: int = 50) -> None:
    """Run `plan` to its end from the last saved state, saving every `every` steps."""
    weights = [p for p in modules.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=plan.rate, weight_decay=0.01, betas=(0.9, 0.98))
    path = folder / f"{plan.stage}.pt"
    step = _resume(path, modules, optimiser, plan.seed)
    batches = Batches(plan.seed, plan.stage, plan.size, step, plan.questions, plan.ramp)
    stream = iter(DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4))
    bar = tqdm(total=plan.steps, initial=step, desc=plan.stage, unit="step", mininterval=5.0)
    began = time.monotonic()
    while step < plan.steps:
        for group in optimiser.param_groups:
            group["lr"] = plan.rate_at(step)
        batch = next(stream)
        with torch.autocast("cpu", torch.bfloat16):
            value, log = loss(batch)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        step += 1
        bar.update()
        if step % 10 == 0:
            row: dict[str, Any] = {
                **log,
                "step": step,
                "stage": plan.stage,
                "loss": value.item(),
                "seconds": time.monotonic() - began,
            }
            _append(folder / "metrics.jsonl", row)
            bar.set_postfix({k: f"{v:.3g}" for k, v in row.items() if isinstance(v, float)})
        if step % every == 0 or step == plan.steps:
            _store(path, modules, optimiser, step, plan.seed)
    bar.close()


def _resume(path: Path, modules: nn.ModuleDict, optimiser: torch.optim.Optimizer, seed: int) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    if state.get("seed", seed) != seed:
        raise ValueError(f"{path} was trained with seed {state['seed']}, not {seed}: train in another folder")
    modules.load_state_dict(state["modules"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def _store(
    path: Path, modules: nn.ModuleDict, optimiser: torch.optim.Optimizer, step: int, seed: int
) -> None:
    state = {
        "modules": modules.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": step,
        "seed": seed,
    }
    partial = path.with_suffix(".tmp")
    torch.save(state, partial)
    partial.replace(path)


def _append(path: Path, row: dict) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def train(stage: str, folder: Path, plan: Plan | None = None) -> None:
    """Train one stage in `folder`. `language` starts from the finished `vision` stage there."""
    plan = plan or PLANS[stage]
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    clip, llava = build()
    if stage == "vision":
        heads = PatchHeads()
        modules = nn.ModuleDict({"clip": clip, "heads": heads})
        fit(plan, modules, lambda batch: vision_loss(clip, heads, batch), folder)
        return
    _load_vision(clip, folder)
    clip.eval().requires_grad_(False)
    table = word_table()
    trained = nn.ModuleDict(
        {
            "projector": llava.model.multi_modal_projector,
            "llm": llava.model.language_model,
            "head": llava.lm_head,
        }
    )
    fit(plan, trained, lambda batch: language_loss(llava, batch, table), folder)


def _load_vision(clip: nn.Module, folder: Path) -> None:
    path = folder / "vision.pt"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: train the vision stage first")
    state = torch.load(path, weights_only=True)["modules"]
    clip.load_state_dict({k.removeprefix("clip."): v for k, v in state.items() if k.startswith("clip.")})


def export(folder: Path, out: Path) -> None:
    """Write the trained models of `folder` to `out` as HuggingFace checkpoints."""
    clip, llava = build()
    _load_vision(clip, folder)
    state = torch.load(folder / "language.pt", weights_only=True)["modules"]
    parts = {
        "projector": llava.model.multi_modal_projector,
        "llm": llava.model.language_model,
        "head": llava.lm_head,
    }
    nn.ModuleDict(parts).load_state_dict(state)
    save(clip, llava, out)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=[*PLANS, "save"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0, help="of weights and pictures (0: as shipped)")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    if arguments.stage == "save":
        export(arguments.folder, arguments.out)
    else:
        train(arguments.stage, arguments.folder, replace(PLANS[arguments.stage], seed=arguments.seed))


if __name__ == "__main__":
    main()
