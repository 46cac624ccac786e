"""The twin of a study: the same axes on the embedded model and its suites, under the name mini_<study>.

conf/mini.yaml says what stands for what. A choice that nothing stands for leaves its axis, and a block without any
task leaves the study. The published figures stay behind: no paper's number stands beside the small model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from prunegrid.grid.errors import GridError, unknown
from prunegrid.grid.options import GROUPS
from prunegrid.grid.study import Study, label, read

PREFIX = "mini_"
NAMES = "Rows are named as there: figures in names are of 576 tokens and 24 layers, what ran here is in the columns"
OWN = {
    "task",
    "tuning",
    "seed",
    "limit",
    "without",
}  # axes that a study's `mini` replaces; labels of the reducers that it leaves out, `ToMe *` for several


def load(conf: Path, name: str) -> Study:
    """The study of a file of conf/study, or the twin of one."""
    files = {p.stem for p in (conf / "study").glob("*.yaml")}
    base = name.removeprefix(PREFIX)
    if name in files or base == name or base not in files:
        return read(conf, name)
    study = read(conf, base)
    if not has_twin(study):
        why = study.unsupported or (
            "mini: false" if study.mini is None else "it runs on the embedded model itself"
        )
        raise GridError(f"study={name}: {study.file} has no twin: {why}")
    return twin(study, _rules(conf))


def names(conf: Path) -> Iterator[str]:
    """All studies, each followed by its twin."""
    for file in sorted((conf / "study").glob("*.yaml")):
        yield file.stem
        if has_twin(read(conf, file.stem)):
            yield PREFIX + file.stem


def has_twin(study: Study) -> bool:
    """Whether another model than the embedded one stands in its blocks, and it does not say `mini: false`."""
    return study.mini is not None and any(
        model != "mini" for block in study.blocks for model in _listed(block.get("model", "mini"))
    )


def twin(study: Study, rules: Mapping[str, Any]) -> Study:
    """The study with everything replaced as `rules` (conf/mini.yaml) and its own `mini` say."""
    changed = study.mini or {}
    for key in set(changed) - OWN:
        raise unknown("key", key, OWN, f"{study.file}: mini")
    blocks: list[Mapping[str, Any]] = []
    for block in study.blocks:
        own = {k: v for k, v in changed.items() if k in block and k not in ("limit", "without")}
        made = _block(block, rules, changed.get("without") or ()) | own
        if made["task"] and made not in blocks:
            blocks.append(made)
    if not blocks:
        raise GridError(f"{study.file}: nothing of its tasks has a twin in conf/mini.yaml; give mini.task")
    return replace(
        study,
        name=PREFIX + study.name,
        title=f"{study.title}, on the mini model",
        source=f"{study.source or study.name}. {NAMES}",
        blocks=blocks,
        published={},
        limit=changed.get("limit", rules["limit"]),
        latency=study.latency and {**study.latency, **(rules.get("latency") or {})},
        cost_table=None,
        mini={},
    )


def _block(block: Mapping[str, Any], rules: Mapping[str, Any], without: Collection[str]) -> dict[str, Any]:
    made = dict(block)
    reducers = _listed(block.get("reducer", "none"))
    made["reducer"] = [r for r in reducers if not any(fnmatchcase(label(r), each) for each in without)]
    for group in ("task", "tuning", "decoding"):
        if group in block:
            known = rules.get(group) or {}
            swapped = (_swap(choice, known) for choice in _listed(block[group]))
            made[group] = list(_once(c for c in swapped if c is not None))
            if group != "task" and not made[group]:
                del made[group]
    return {"task": [], **made, "model": "mini"}


def _swap(choice: Any, known: Mapping[str, str]) -> Any:
    """What stands for a choice: a name of the embedded model's stands for itself."""
    if not isinstance(choice, Mapping):
        return choice if str(choice).startswith(PREFIX) or choice == "none" else known.get(str(choice))
    name, values = next(iter(choice.items()))
    other = _swap(name, known)
    values = dict(values or {})
    if values.get("after") is not None:
        values["after"] = _swap(values["after"], known)
    return None if other is None else {other: {k: v for k, v in values.items() if k in ("as", "after")}}


def _once(choices: Iterable[Any]) -> Iterator[Any]:
    seen: list[Any] = []
    for choice in choices:
        if choice not in seen:
            seen.append(choice)
            yield choice


def _listed(choices: Any) -> list[Any]:
    return choices if isinstance(choices, list) else [choices]


def _rules(conf: Path) -> Mapping[str, Any]:
    file = conf / "mini.yaml"
    rules = OmegaConf.to_container(OmegaConf.load(file)) if file.exists() else None
    if not isinstance(rules, Mapping) or "limit" not in rules:
        raise GridError(f"{file} must say what stands for what on the embedded model, and a limit")
    for key in set(rules) - {*GROUPS, "limit", "latency"}:
        raise unknown("key", str(key), {*GROUPS, "limit", "latency"}, str(file))
    return {str(key): value for key, value in rules.items()}
