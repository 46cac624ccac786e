"""What every benchmark has in common: samples in, judgements out, scores as functions of sums over clusters.

A cluster is the unit that is drawn when uncertainty is estimated: the questions of one image (or of one
base question) depend on each other. A task turns judgements into an array of sufficient statistics, one
row per cluster; every metric is a function of the SUM of rows, so a bootstrap replicate is a weighted sum.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.ratios import present
from prunegrid.tasks.rows import Kinds, Row, read_rows
from prunegrid.tasks.template import render

Mode = Literal["official", "strict"]
Array = npt.NDArray[np.float64]

# Keys of conf/task/*.yaml that are not the task's own: what names it, where its data lie, how it is run.
CELL_KEYS = frozenset({"_target_", "name", "data", "limit", "max_new_tokens"})


@dataclass(frozen=True)
class Record:
    """What was said about one sample; one line of records.jsonl. Everything in it is JSON."""

    id: str
    cluster: str
    text: str
    answer: Any
    meta: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        plain = {key: getattr(self, key) for key in ("id", "cluster", "text", "answer")}
        return {**plain, "meta": dict(self.meta)}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Self:
        """Inverse of to_dict; other keys (token counts, ...) are left aside. TaskError if one is missing."""
        missing = [f.name for f in fields(cls) if f.name not in row]
        if missing:
            there = ", ".join(row) or "none"
            raise TaskError(f"record {row.get('id', '?')!r}: {', '.join(missing)} missing; there are {there}")
        return cls(**{f.name: row[f.name] for f in fields(cls)})

    def to_json(self) -> str:
        """One line, without the newline."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        return cls.from_dict(json.loads(line))


@dataclass(frozen=True)
class Sample:
    """One question. `images` is empty where the benchmark has a question without one."""

    id: str
    cluster: str
    images: tuple[Path, ...]
    prompt: str
    answer: Any
    meta: Mapping[str, Any] = field(default_factory=dict)

    def record(self, text: str) -> Record:
        """The record of a model's raw `text` for this sample."""
        return Record(self.id, self.cluster, text, self.answer, self.meta)


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A benchmark: a frozen dataclass whose parameters come from conf/task/<name>.yaml.

    A subclass says which fields its rows need, how a record is judged and how judgements are counted.
    `official` judging is what LLaVA-1.5's scripts (commit c121f043) and the benchmark's own scorer do,
    quirks included; `strict` never turns a text that states no answer into one: such a text is wrong.
    """

    version: ClassVar[str]  # bumped whenever a score could change
    primary: ClassVar[str]  # the headline metric, a key of metric()
    unit: ClassVar[str] = "%"  # "%": shown as 100 * value; "points": shown as it is
    needs: ClassVar[Mapping[str, Kinds]] = {}  # fields that a row must have beyond the common ones

    file: str
    prompt: str

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build from a conf/task mapping without the cell's keys; TaskError if one is unknown or missing."""
        own = {f.name: f for f in fields(cls)}
        given = {key: value for key, value in config.items() if key not in CELL_KEYS}
        unknown = sorted(set(given) - set(own))
        if unknown:
            raise TaskError(
                f"{cls.__name__}: unknown option {', '.join(unknown)}; there are {', '.join(own)}"
            )
        missing = [name for name, f in own.items() if f.default is MISSING and name not in given]
        if missing:
            raise TaskError(f"{cls.__name__}: option {', '.join(missing)} is missing")
        # yaml has lists, a frozen dataclass wants tuples
        options: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        return cls(**options)

    @property
    def scale(self) -> float:
        """The largest value that the primary metric can take."""
        return 1.0

    def samples(self, data: Path) -> Iterator[Sample]:
        """Every question of the benchmark, in file order. Raises TaskError as `read_rows` does."""
        rows = read_rows(data, self.file, self.needs)
        for row in rows:
            where = f"{data / self.file} id {row['id']!r}"
            self.check(row, where)
        for row in self.prepare(rows):
            where = f"{data / self.file} id {row['id']!r}"
            meta = {key: row[key] for key in row if key not in {"id", "cluster", "question", "answer"}}
            yield Sample(
                id=row["id"],
                cluster=row["cluster"],
                images=() if row["image"] is None else (data / row["image"],),
                prompt=render(self.prompt, self.fields(row), where),
                answer=row["answer"],
                meta=meta,
            )

    def check(self, row: Row, where: str) -> None:  # noqa: B027 - not every task has something to check
        """Raise TaskError if the values of `row` cannot be judged later."""

    def prepare(self, rows: list[Row]) -> list[Row]:
        """Add to rows what only the whole file tells (the size of a group)."""
        return rows

    def fields(self, row: Row) -> Mapping[str, object]:
        """What the prompt template may name."""
        return row

    def judge(self, record: Record, mode: Mode) -> dict[str, Any]:
        """Judge one record; the answer is JSON and carries id and cluster.

        LLaVA's scripts store `output.strip()`, so both modes judge the stripped text.
        """
        if mode not in ("official", "strict"):
            raise TaskError(f"mode {mode!r}: must be official or strict")
        if not isinstance(record.text, str):
            raise TaskError(f"record {record.id!r}: text must be a string, not {record.text!r}")
        return {"id": record.id, "cluster": record.cluster, **self.verdict(record, record.text.strip(), mode)}

    @abstractmethod
    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """The task's own part of a judgement."""

    def counts(self, judged: Sequence[Mapping[str, Any]]) -> tuple[list[str], Array]:
        """Sufficient statistics per cluster: (cluster names in order of appearance, [clusters, c]).

        Raises TaskError if nothing was judged or an id is judged twice.
        """
        if not judged:
            raise TaskError("nothing to count: no judged record")
        seen: set[str] = set()
        for row in judged:
            if row["id"] in seen:
                raise TaskError(f"id {row['id']!r} was judged twice")
            seen.add(row["id"])
        places: dict[str, int] = {}
        for row in judged:
            places.setdefault(row["cluster"], len(places))
        tallied = np.asarray(self.tally(judged), dtype=np.float64)
        sums = np.zeros((len(places), tallied.shape[1]))
        np.add.at(sums, [places[row["cluster"]] for row in judged], tallied)
        return list(places), sums

    @abstractmethod
    def tally(self, judged: Sequence[Mapping[str, Any]]) -> Array | list[list[float]]:
        """What each judged row adds to its cluster's statistics, [n, c]."""

    def metric(self, counts: Array) -> dict[str, Any]:
        """Every metric of a SUM over clusters, [..., c]: floats for [c], arrays [...] otherwise.

        A metric whose denominator is 0 everywhere (a sub-task without questions) is left out;
        where it is 0 in some replicates only, those are NaN.
        """
        counts = np.asarray(counts, dtype=np.float64)
        return present(self.measures(counts))

    @abstractmethod
    def measures(self, counts: Array) -> Mapping[str, Array]:
        """Every metric as an array [...] of counts [..., c]; NaN where undefined."""

    def score(self, judged: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Every metric of the judged rows: `metric` of the sum of `counts`."""
        return self.metric(self.counts(judged)[1].sum(axis=0))


def limit_clusters(samples: Iterable[Sample], limit: int | None) -> list[Sample]:
    """The first clusters that hold at most `limit` samples together (at least one cluster), in file order.

    Whole clusters, so that pairs, circular groups and the splits of one image stay complete in a trial run.
    """
    every = list(samples)
    if limit is None:
        return every
    if limit < 1:
        raise TaskError(f"limit {limit}: must be at least 1, or null for every sample")
    sizes: dict[str, int] = {}
    for sample in every:
        sizes[sample.cluster] = sizes.get(sample.cluster, 0) + 1
    taken: set[str] = set()
    total = 0
    for cluster, size in sizes.items():
        if taken and total + size > limit:
            break
        taken.add(cluster)
        total += size
    return [sample for sample in every if sample.cluster in taken]
