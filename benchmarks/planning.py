"""How long a study of many cells takes to plan: `python benchmarks/planning.py [CELLS]` (10,000 if nothing is said).

Prints seconds (wall, and this process's own) of planning anew (the methods' process is in the wall time alone), of planning
what has not changed, of reading the written plan, and of what a job does at its start: looking up its own row. At last the
machine and the date.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from stamp import stamp

from prunegrid.grid.index import Row, Tables
from prunegrid.grid.plan import Plan, make

ROOT = Path(__file__).parents[1]
TASKS = ("mini_vqa", "mini_textvqa", "mini_pope", "mini_mme", "mini_sqa")
NAME = "many"


def project(folder: Path, cells: int) -> None:
    """A copy of conf/ and data.dvc with one study: a reducer's option times five tasks times ten seeds."""
    shutil.copytree(ROOT / "conf", folder / "conf")
    shutil.copy(ROOT / "data.dvc", folder)
    values = [round(0.5 + 0.01 * i, 4) for i in range(max(1, cells // (len(TASKS) * 10)))]
    block = {
        "task": list(TASKS),
        "reducer": [{"prumerge": {"fence": v}} for v in values],
        "seed": list(range(10)),
    }
    (folder / "conf" / "study" / f"{NAME}.yaml").write_text(
        yaml.safe_dump({"blocks": [block]}), encoding="utf-8"
    )


def timed(what: str, act: Callable[[], Any]) -> Any:
    wall, own = time.perf_counter(), time.process_time()
    made = act()
    print(
        f"{what:24} {time.perf_counter() - wall:7.2f} s wall  {time.process_time() - own:7.2f} s own",
        flush=True,
    )
    return made


def own_row(results: Path, cell: str) -> Row:
    tables = Tables.read(results, NAME)
    assert tables is not None
    return tables.cells[cell]


def main(cells: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project(folder, cells)
        results = folder / "results"
        plan = timed("planned anew", lambda: make(folder, results, NAME))
        timed("planned again", lambda: make(folder, results, NAME))
        file = results / "plan" / f"{NAME}.json"
        timed("read whole", lambda: Plan.read(file))
        timed("own row of a job", lambda: own_row(results, plan.rows[-1]["id"]))
        print(f"{len(plan.rows)} cells; the plan is {file.stat().st_size / 1e6:.1f} MB")
    print(stamp())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
