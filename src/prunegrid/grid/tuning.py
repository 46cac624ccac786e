"""What is trained for a cell, resolved: the reducer at work, the data's content, the seed, the code, what came before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prunegrid.grid.cell import Cell, check_name
from prunegrid.grid.code import accepted, check_module, code_hash, module_of
from prunegrid.grid.data import digests
from prunegrid.grid.errors import GridError

TUNE = ("prunegrid.tune.loop", "prunegrid.run.weights", "prunegrid.run.tower")  # what trains, and on what

Pick = Callable[[str, Any], dict[str, Any]]  # (group, choice) -> its resolved values


def resolve(
    tuning: Mapping[str, Any],
    reducer: Mapping[str, Any],
    seed: int,
    outs: Mapping[str, str],
    pick: Pick,
    root: Any,
) -> dict[str, Any]:
    """`tuning` with every `null` that stands for the cell's own filled in. Untuned stays as it is.

    reducer, seed: of the cell; outs: of data.dvc; root: the project folder. Raises GridError for data that are not
    pinned, for a module outside the listed packages, and for a reducer of its own whose budget depends on another cell
    or whose weights the cell's reducer would need.
    """
    if tuning["name"] == "none":
        return dict(tuning)
    check_name("tuning", tuning["name"])
    where = f"conf/tuning/{tuning['name']}.yaml"
    if missing := sorted({"reducer", "seed", "after", "data", "made"} - set(tuning)):
        raise GridError(f"{where}: {', '.join(missing)} missing; only the tuning `none` does without")
    if tuning["reducer"] is not None:
        evaluated, reducer = reducer, pick("reducer", tuning["reducer"])
        _check_owner(reducer, evaluated, where)
        if any(_like(v) for v in reducer.values()):
            raise GridError(
                f"{where}: reducer: a reducer to train with needs a budget of its own, not `like`"
            )
    if (tuning["data"] is None) == (tuning["made"] is None):
        raise GridError(f"{where}: give either data (an out of data.dvc) or made (a module that writes them)")
    if tuning["made"] is not None:
        check_module(tuning["made"], f"{where}: made")
        content = code_hash([tuning["made"]])
    else:
        ((out, md5),) = digests(outs, (tuning["data"],)).items()
        content = md5 + tuning["data"][len(out) :]
    before = tuning["after"]
    if before is not None:
        before = resolve(pick("tuning", before), reducer, seed, outs, pick, root)
    return {
        **tuning,
        "reducer": dict(reducer),
        "seed": seed if tuning["seed"] is None else tuning["seed"],
        "after": before,
        "digest": content,
        "code": accepted(root, code_of(reducer)),
    }


def code_of(reducer: Mapping[str, Any]) -> str:
    """Hash of the code that a training with this reducer runs."""
    return code_hash([*TUNE, module_of(reducer["_target_"])])


def _check_owner(trained: Mapping[str, Any], evaluated: Mapping[str, Any], where: str) -> None:
    """A method with weights of its own has them from its own training; no other can take them."""
    learned = "untrained" in trained or "untrained" in evaluated
    if learned and trained["_target_"] != evaluated["_target_"]:
        raise GridError(
            f"{where}: reducer: {trained['name']} would train and {evaluated['name']} be evaluated; a method with "
            "weights of its own takes them from its own training: leave reducer null"
        )


def _like(value: Any) -> bool:
    """Whether a parameter is a budget that another cell sets."""
    return isinstance(value, Mapping) and set(value) == {"like"}


def chain(cell: Cell) -> Iterator[Cell]:
    """The cell as it would be after each tuning that is trained for it, the first one first."""
    if cell.tuning.get("name") == "none":
        return
    if cell.tuning.get("after"):
        yield from chain(cell.tuned_by(cell.tuning["after"]))
    yield cell


def rows(cell: Cell, outs: Mapping[str, str]) -> list[dict[str, Any]]:
    """What the rule `tune` needs to know of each tuning of a cell, the first one first.

    id; after: the one that it starts from; like: prediction that sets the training reducer's budget; made: {module,
    digest} of data that a module writes; data: path -> md5 of the outs that it reads, the model's included.
    """
    found: list[dict[str, Any]] = []
    for tuned in chain(cell):
        tuning = tuned.tuning
        made = {"module": tuning["made"], "digest": tuning["digest"]} if tuning["made"] else None
        found.append(
            {
                "id": tuned.adapter_id(),
                "after": found[-1]["id"] if found else None,
                "made": made,
                "like": next((v["like"] for v in tuning["reducer"].values() if _like(v)), None),
                "data": digests(outs, (cell.model.get("data"), tuning["data"])),
            }
        )
    return found
