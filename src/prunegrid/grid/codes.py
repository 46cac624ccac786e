"""Which code a cell's stages run, as hashes: each distinct set of modules is hashed once per plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from prunegrid.grid.cell import Cell
from prunegrid.grid.code import accepted, code_hash, module_of

PREDICT = "prunegrid.run.predict"
SCORE = "prunegrid.run.score"
COST = "prunegrid.run.cost"


@dataclass(frozen=True)
class Codes:
    """Hashes of the code of a project's stages, or what `prunegrid accept` declared them equal to."""

    root: Path
    known: dict[tuple[str, ...], str] = field(default_factory=dict)

    def prediction(self, cell: Cell) -> str:
        """Of the code that a prediction runs: its method, the core, and what asks in its task."""
        targets = (cell.reducer["_target_"], cell.task["_target_"])
        return self._of(PREDICT, *(module_of(t) for t in targets), judging=False)

    def score(self, cell: Cell) -> str:
        """Of the code that a score runs."""
        return self._of(SCORE, module_of(cell.task["_target_"]))

    def cost(self) -> str:
        """Of the code that counts tokens and FLOPs."""
        return self._of(COST)

    def _of(self, *modules: str, judging: bool = True) -> str:
        if modules not in self.known:  # `judging` follows from the first module
            self.known[modules] = accepted(self.root, code_hash(modules, judging=judging))
        return self.known[modules]
