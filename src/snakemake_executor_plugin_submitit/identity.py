"""Names and fingerprints of Snakemake jobs: what a job is called, and whether two jobs are the same work."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAME_LIMIT = 64


@dataclass(frozen=True)
class Identity:
    """key: who may write these outputs (two jobs with one key must never run at once).
    work: changes if the job would compute something else. name: readable, for squeue.
    """

    key: str
    work: str
    name: str


def identify(job: Any, workdir: Path) -> Identity:
    """Identity of a Snakemake job or group job; reads the size and time of its input files."""
    singles = sorted(job.jobs, key=_describe) if job.is_group() else [job]
    outputs = sorted(str(path) for single in singles for path in single.output)
    places = outputs or [_describe(single) for single in singles]
    work = [
        {
            "job": _describe(single),
            "input": {str(path): _stamp(workdir / str(path)) for path in single.input},
            "output": [str(path) for path in single.output],
            "params": _plain(getattr(single, "params", None)),
            "code": _code(single),
        }
        for single in singles
    ]
    key = _digest(places)
    words = [job.name] if job.is_group() else [job.rule.name, *map(str, _wildcards(job).values())]
    return Identity(key, _digest(work), short_name(words, key))


def short_name(words: Iterable[str], key: str) -> str:
    """`predict-prumerge-textvqa-3f9a`: words in safe characters, then four digits of the key."""
    safe = [re.sub(r"[^A-Za-z0-9._+]+", "-", word).strip("-") for word in words]
    text = "-".join(word for word in safe if word)
    return f"{text[: NAME_LIMIT - 5].rstrip('-')}-{key[:4]}"


def array_name(names: Iterable[str], mark: str) -> str:
    """Name of an array: the rules in it, its size and the last four digits of its mark."""
    names = list(names)
    rules = sorted({name.split("-")[0] for name in names})
    return short_name(
        ["+".join(rules[:3]) + ("+more" if len(rules) > 3 else ""), f"x{len(names)}"], mark[-4:]
    )


def _describe(single: Any) -> str:
    return json.dumps([single.rule.name, {k: str(v) for k, v in _wildcards(single).items()}], sort_keys=True)


def _wildcards(single: Any) -> Mapping[str, Any]:
    return getattr(single, "wildcards_dict", None) or {}


def _stamp(path: Path) -> list[int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None  # made inside the group, or not on this file system
    return [stat.st_size, stat.st_mtime_ns]


def _plain(params: Any) -> list[str]:
    if params is None:
        return []
    return [repr(value) for value in params] + [f"{name}={value!r}" for name, value in params.items()]


def _code(single: Any) -> list[str]:
    rule = single.rule
    kinds = ("shellcmd", "script", "notebook", "wrapper", "template_engine")
    return [str(getattr(rule, kind, None)) for kind in kinds]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
