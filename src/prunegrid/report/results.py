"""A study as the other stages left it under `results/`: its plan and its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunegrid.report.cell import Cell, ResultError, State, is_mini, read_json


@dataclass(frozen=True)
class Study:
    """A plan and its cells, in the plan's order: `cells` are shown, `support` is what they are compared with.

    A cell that stands in two places of the table is in `cells` twice and counts once.
    """

    root: Path
    plan: Mapping[str, Any]
    cells: tuple[Cell, ...]
    support: tuple[Cell, ...] = ()

    @property
    def name(self) -> str:
        return str(self.plan["study"])

    @property
    def title(self) -> str:
        return str(self.plan.get("title") or self.name)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(cell.model for cell in self.cells))

    @property
    def mini(self) -> bool:
        """True if all numbers are of the small embedded model."""
        return bool(self.cells) and all(is_mini(model) for model in self.models)

    @property
    def size(self) -> int:
        return len({cell.id for cell in self.cells})

    def count(self, state: State) -> int:
        return len({cell.id for cell in self.cells if cell.state == state})

    @property
    def everything(self) -> tuple[Cell, ...]:
        """Every cell once, shown or not."""
        found: dict[str, Cell] = {}
        for cell in (*self.cells, *self.support):
            found.setdefault(cell.id, cell)
        return tuple(found.values())

    @property
    def progress(self) -> str:
        """`28 of 30 cells (1 failed, 1 missing)`."""
        rest = [f"{n} {state}" for state in ("failed", "missing") if (n := self.count(state))]
        return f"{self.count('done')} of {self.size} cells" + (f" ({', '.join(rest)})" if rest else "")

    def cell(self, cell_id: str) -> Cell:
        for cell in self.everything:
            if cell.id == cell_id:
                return cell
        raise ResultError(f"cell {cell_id!r} does not stand in study {self.name!r}")


def load_study(root: Path, name: str) -> Study:
    """The study `name` of the results folder `root`. ResultError if it was never planned."""
    if name in ("", ".", "..") or Path(name).name != name:
        raise ResultError(f"study {name!r}: must be a plain name, not a path")
    file = root / "plan" / f"{name}.json"
    if not file.exists():
        known = ", ".join(sorted(p.stem for p in (root / "plan").glob("*.json"))) or "none"
        raise ResultError(f"{file}: no such plan (planned: {known}); run `prunegrid plan {name}`")
    plan = read_json(file)
    cells = [Cell(root, entry) for entry in plan["cells"]]
    shown, support = ([cell for cell in cells if cell.support is kind] for kind in (False, True))
    return Study(root, plan, tuple(shown), tuple(support))
