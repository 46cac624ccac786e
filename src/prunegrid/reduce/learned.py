"""Methods with weights of their own: where they come from, how they are kept, and the refusal to run on noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from prunegrid.reduce.reducer import Reducer
from prunegrid.shape import ModelShape


@dataclass(frozen=True)
class Learned(Reducer):
    """`weights`: a file that `save` wrote. Without one the method means nothing, and is refused, unless `untrained`
    says that random weights are wanted: to train them, or to test."""

    weights: str | None = field(default=None, kw_only=True)
    untrained: bool = field(default=False, kw_only=True)

    def build(self, shape: ModelShape) -> nn.Module:
        """The architecture with its published initialisation."""
        raise NotImplementedError

    def module(self, shape: ModelShape) -> nn.Module:
        """`build` with the weights of the file; untrained ones are the same in every call and leave the global
        random state alone. Raises ValueError without weights, or where the file is of another architecture."""
        who = type(self).__name__
        if self.weights is None and not self.untrained:
            raise ValueError(
                f"{who}: this method is trained, and there are no weights; give weights=FILE, "
                "or untrained=true to start from random ones"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = self.build(shape)
        if self.weights is not None:
            load(made, Path(self.weights), who)
        return made.eval()


def save(module: nn.Module, path: Path) -> None:
    """Write the weights; a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.part")
    torch.save({name: value.detach().cpu() for name, value in module.state_dict().items()}, unfinished)
    unfinished.replace(path)


def load(module: nn.Module, path: Path, who: str) -> None:
    """Read what `save` wrote: tensors alone, no code. Raises ValueError naming what is missing or does not fit."""
    if not path.is_file():
        raise ValueError(f"{who}: weights={path} is no file; write one with prunegrid.reduce.learned.save")
    given, own = torch.load(path, map_location="cpu", weights_only=True), module.state_dict()
    wrong = [f"{n} is missing" for n in own if n not in given]
    wrong += [f"{n} is not known here" for n in given if n not in own]
    wrong += [
        f"{n} is {list(given[n].shape)}, not {list(own[n].shape)}"
        for n in own
        if n in given and given[n].shape != own[n].shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{who}: weights={path} are of another model: {'; '.join(wrong[:3])}{more}")
    module.load_state_dict(given)
