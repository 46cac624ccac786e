"""`prunegrid latency CELL`: measure one cell on the machine at hand."""

from __future__ import annotations

import argparse
from typing import Any

from prunegrid.cost.devices import unnamed
from prunegrid.run.arguments import at_least, whole, wholes
from prunegrid.run.files import read_cell
from prunegrid.run.named import cell_file

BY_HAND = "latency_by_hand.json"  # not what a study's page shows, nor what its rule would take for done
SHOWN = ("preprocess", "vision", "reducer", "projector", "prefill", "step", "first", "total")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    command = commands.add_parser("latency", help="measure a cell's time and memory, phase by phase")
    command.add_argument("cell", help="a cell id, the beginning of one, or the path of a cell.yaml")
    command.add_argument("--batch-sizes", type=wholes, default=[1, 8], metavar="1,8")
    command.add_argument("--new-tokens", type=wholes, default=[1, 64], metavar="1,64")
    command.add_argument("--repeats", type=whole, default=50)
    command.add_argument("--warmup", type=at_least(0), default=5)
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1")
    command.add_argument(
        "--name", default=BY_HAND, help=f"file written in the cell's folder (default: {BY_HAND})"
    )
    command.set_defaults(run=_latency)


def _latency(arguments: argparse.Namespace) -> None:
    from prunegrid.run.latency import latency

    path = cell_file(arguments.results, arguments.cell)
    settings = {k: getattr(arguments, k) for k in ("batch_sizes", "new_tokens", "repeats", "warmup")}
    cell, name = read_cell(path), arguments.name
    made = latency(cell, arguments.results, arguments.root, settings, arguments.device, name)
    print(
        f"{'batch':>5} {'new':>4} {'tokens':>7}  "
        + "".join(f"{name:>11}" for name in SHOWN)
        + "   (ms, medians)"
    )
    for point in made["points"]:
        medians = (1000 * (point["seconds"][name] or {"median": 0})["median"] for name in SHOWN)
        head = f"{point['batch_size']:>5} {point['new_tokens']:>4} {point['visual_tokens']:>7.1f}  "
        print(head + "".join(f"{value:>11.2f}" for value in medians))
    if all(point["roofline"] is None for point in made["points"]):
        print(unnamed(made["machine"]["name"]))
    print(f"{path.with_name(name)}: on {made['machine']['name']}, {made['dtype']}")
