"""What one run holds, as plain values: no MLflow here."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

_LONGEST = 500  # of a parameter's value; the whole cell.yaml is an artefact
_LONGEST_TAG = 7500
KIND = ("mlflow.experimentKind", "custom_model_development")
INTERFACE = "workflowType=machine_learning"  # in links: else MLflow 3.17 shows the pages that chats have


@dataclass(frozen=True)
class Entry:
    """A run to be. `identity` = (tag, value) finds the runs of the same thing, `result_hash` its versions."""

    name: str
    identity: tuple[str, str]
    result_hash: str
    status: Literal["FINISHED", "FAILED"]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: Mapping[str, str] = field(default_factory=dict)  # name -> digest
    started: int | None = None  # ms since 1970
    ended: int | None = None
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)  # metric -> (step, value)

    @property
    def content(self) -> str:
        """Changes when a run of the same result has more to say, e.g. after its baseline ran again."""
        return digest([dict(self.metrics), dict(self.tags)])


def digest(value: Any) -> str:
    """sha256 of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """`{"model": {"dtype": "bf16"}}` -> `{"model.dtype": "bf16"}`; long values are cut."""
    return {metric_name(key): shorten(value) for key, value in _leaves(config, prefix)}


def _leaves(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)


def shorten(text: str, longest: int = _LONGEST) -> str:
    """`text`, cut with an ellipsis where it is too long."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def tag_text(text: str, longest: int = _LONGEST_TAG) -> str:
    """Markdown that fits into a tag, cut after a whole line; an experiment's tags take 20000 characters."""
    if len(text) <= longest:
        return text
    return text[:longest].rsplit("\n", 1)[0] + "\n\n… (cut; the whole text is an artefact)"


def metric_name(name: str) -> str:
    """A name that MLflow takes: `acc+` -> `acc_plus`."""
    return re.sub(r"[^\w\-./ ]", "_", name.replace("+", "_plus"))[:250]


def latency_name(point: Mapping[str, Any]) -> str:
    """Where the times of one measured point stand among the metrics: `latency_ms/batch1_new16`."""
    return f"latency_ms/batch{point['batch_size']}_new{point['new_tokens']}"


def run_link(experiment: str, run_id: str, page: str = "") -> str:
    """A link to a run, or to a page of it, that works in Markdown wherever the server stands."""
    return f"#/experiments/{experiment}/runs/{run_id}{page and '/'}{page}?{INTERFACE}"


def milliseconds(moment: Any) -> int | None:
    """ISO text or seconds since 1970 in ms; None for anything else."""
    if isinstance(moment, int | float):
        return int(moment * 1000)
    try:
        parsed = datetime.fromisoformat(str(moment))
    except ValueError:
        return None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
