"""Parts of one prediction, answered by several jobs: no part of its identity, gone once they are put together.

A shard takes every n-th batch of the whole list, so who sits beside whom in a batch is the same with any number of
shards, and so are the answers. A predict without a shard takes over what all shards have answered and asks the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from prunegrid.run.errors import BuildError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `count`."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`2/8`. BuildError for anything that is no such part."""
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise BuildError(f"--shard {text!r} must be K/N with 1 <= K <= N, like 2/8")
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        return f"{self.index}-of-{self.count}"

    def rows(self, prediction: Path) -> Path:
        """Where its answered rows stand until they are put together."""
        return prediction / f"partial.{self.name}.jsonl"

    def stamp(self, prediction: Path) -> Path:
        """Written once it is finished: what the workflow waits for."""
        return prediction / "shards" / f"{self.name}.json"

    def mine(self, batches: Sequence[T]) -> list[T]:
        return list(batches[self.index - 1 :: self.count])


def answered(prediction: Path) -> list[Path]:
    """The rows of every shard that has begun."""
    return sorted(prediction.glob("partial.*-of-*.jsonl"))
