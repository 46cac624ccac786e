"""A throw-away project folder: a copy of conf/ and data.dvc, with studies of its own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prunegrid.grid.builder import Builder
from prunegrid.grid.cell import Cell
from prunegrid.grid.data import outs
from prunegrid.grid.options import Options
from prunegrid.grid.plan import Plan, make

ROOT = Path(__file__).parents[2]
PINS = {"data/mini/scenes": "a" * 32 + ".dir", "data/mini/weights": "b" * 32 + ".dir"}


def dump(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


@dataclass
class Project:
    """`root` holds conf/, data.dvc and results/. Plans share `options`, so that each is composed once a session."""

    root: Path
    options: Options

    @classmethod
    def at(cls, root: Path) -> Project:
        shutil.copytree(ROOT / "conf", root / "conf")
        shutil.rmtree(root / "conf" / "study")
        project = cls(root, Options.of(root / "conf"))
        project.pin(PINS)
        return project

    @property
    def results(self) -> Path:
        return self.root / "results"

    def pin(self, outs: dict[str, str]) -> None:
        """Write data.dvc: path -> md5."""
        dump(
            self.root / "data.dvc", {"outs": [{"path": p, "md5": m, "hash": "md5"} for p, m in outs.items()]}
        )

    def write(self, file: str, value: Any) -> None:
        """A file below the root; text as it is, anything else as yaml."""
        path = self.root / file
        if isinstance(value, str):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(value, encoding="utf-8")
        else:
            dump(path, value)

    def study(self, name: str, *blocks: dict[str, Any], **more: Any) -> None:
        dump(self.root / "conf" / "study" / f"{name}.yaml", {**more, "blocks": list(blocks)})

    def plan(self, *blocks: dict[str, Any], name: str = "mine", choose: Any = None, **more: Any) -> Plan:
        """Write a study and plan it."""
        if blocks:
            self.study(name, *blocks, **more)
        return make(self.root, self.results, name, choose)

    def cell(self, **point: Any) -> Cell:
        """The cell at one point of the axes."""
        made, _ = Builder(self.options, outs(self.root)).cell(point, "here")
        return made
