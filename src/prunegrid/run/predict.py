"""Stage `predict`: a cell's answers. Resumes by id; a killed job loses at most one batch."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from prunegrid.grid.cell import Cell
from prunegrid.run import build, tuned, weights
from prunegrid.run.data import check_unchanged
from prunegrid.run.files import Files, entering, file_hash, read_finished, read_json, write_json, write_jsonl
from prunegrid.run.partial import Partial
from prunegrid.run.shards import Shard, answered
from prunegrid.run.text import prompt_texts
from prunegrid.run.tower import text_tower
from prunegrid.tasks import Sample, TaskError, check_images, limit_clusters

if TYPE_CHECKING:
    from prunegrid.reduce import PromptText


def predict(
    cell: Cell, results: Path, root: Path, code: str, device: str = "auto", shard: Shard | None = None
) -> None:
    """Answer every question of the cell and write records.jsonl, trace.jsonl, provenance.json, timing.json.

    `shard`: answer that part alone and leave its rows; a later call without one puts all parts together.
    """
    files = Files.of(results, cell)
    task, keep, adapters = build.task(cell), budget(cell, results), tuned.files(cell, results)
    # What can be wrong fails here, before anything is loaded.
    check_unchanged(root, results, dict(cell.data))
    build.check_fits(cell, build.reducer(cell, keep), weights.shape(cell, root))
    samples = limit_clusters(task.samples(root / cell.task["data"]), cell.limit)
    check_images(samples)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    fingerprint, home = f"{files.prediction_id} {code}", files.prediction
    home.mkdir(parents=True, exist_ok=True)
    partial = Partial(shard.rows(home) if shard else home / "partial.jsonl", fingerprint)
    done = partial.load()
    partial.rewrite(done)
    for path in answered(home) if shard is None else []:
        done |= Partial(path, fingerprint).load()
    # Batches are cut from the whole list, resumed or not: who sits beside whom never depends on an interruption.
    batches = list(_batches(samples, int(cell.decoding["batch_size"])))
    mine = shard.mine(batches) if shard else batches
    todo = [b for b in mine if any(s.id not in done for s in b)]
    done |= _answer(cell, root, keep, device, partial, todo, sum(map(len, mine)), adapters)
    timing = {"seconds": time.monotonic() - began, "asked": sum(map(len, todo))}
    if shard:
        write_json(shard.stamp(home), timing)
        return
    rows = [done[s.id] for s in samples]
    write_jsonl(files.trace, [{"id": r["record"]["id"], **r["trace"]} for r in rows])
    made = provenance(cell, root, code, keep, started, len(rows), device) | {
        "budgets": budgets(cell, results)
    }
    write_json(files.provenance, made | {"adapters": tuned.provenance(adapters)} if adapters else made)
    write_json(home / "timing.json", _with_shards(home, timing))
    write_jsonl(files.records, [r["record"] for r in rows])
    (home / "failed.json").unlink(missing_ok=True)
    for path in (partial.path, *answered(home)):
        path.unlink()


def _answer(
    cell: Cell,
    root: Path,
    keep: Mapping[str, Any],
    device: str,
    partial: Partial,
    todo: Sequence[Sequence[Sample]],
    total: int,
    adapters: Sequence[Path] = (),
) -> dict[str, dict[str, Any]]:
    """id -> row of every question of `todo`, each batch stored as soon as it is answered."""
    rows: dict[str, dict[str, Any]] = {}
    if not todo:
        return rows
    answer = Answerer(cell, root, keep, device, adapters)
    with tqdm(total=total, initial=total - sum(map(len, todo)), desc=cell.label, unit="q") as bar:
        for batch in todo:
            made = answer(batch)
            partial.append(made)
            rows |= {r["record"]["id"]: r for r in made}
            bar.update(len(batch))
    return rows


def _with_shards(home: Path, timing: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked and how long it took, the shards' part included (their time one after the other)."""
    whole = dict(timing)
    for path in answered(home):
        stamp = home / "shards" / f"{path.name.removeprefix('partial.').removesuffix('.jsonl')}.json"
        if stamp.exists():
            part = read_json(stamp, "delete it")
            whole = {key: whole[key] + part[key] for key in whole}
    return whole


def _batches(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    for start in range(0, len(samples), size):
        yield list(samples[start : start + size])


def budget(cell: Cell, results: Path) -> dict[str, Any]:
    """Parameters that take as many tokens as another prediction kept on average; those that a tuning settles."""
    found: dict[str, Any] = {}
    for key, value in cell.reducer.items():
        if isinstance(value, Mapping) and "like" in value:
            twin = results / "predictions" / value["like"]
            traced = read_finished(twin, "trace.jsonl", f"it sets {key}; predict that cell first")
            counts = [entering(row) for row in traced]
            found[key] = max(1, round(sum(counts) / len(counts)))
    return {**tuned.values(cell), **found}


def budgets(cell: Cell, results: Path) -> dict[str, str]:
    """prediction id -> hash of its trace, for each prediction that sets a budget of this one."""
    ids = [v["like"] for v in cell.reducer.values() if isinstance(v, Mapping) and "like" in v]
    return {i: file_hash(results / "predictions" / i / "trace.jsonl") for i in ids}


class Answerer:
    """A loaded model that answers batches."""

    def __init__(
        self,
        cell: Cell,
        root: Path,
        keep: Mapping[str, Any],
        device: str,
        adapters: Sequence[Path] = (),
    ) -> None:
        import torch

        from prunegrid.reduce import ReducedVLM

        self.device = weights.device_of(cell, device)
        self.cell = cell
        torch.manual_seed(cell.seed)
        model, self.processor = weights.load(cell, root, self.device)
        reducer = build.reducer(cell, keep)
        tower = text_tower(cell, root, self.device, reducer)
        self.host = ReducedVLM(model, reducer, seed=cell.seed, text=tower)
        tuned.put_in(self.host, adapters)

    def inputs(self, batch: Sequence[Sample]) -> dict[str, Any]:
        """What `ReducedVLM.generate` takes, on the device: pictures read and processed, prompts left-padded."""
        import torch

        images = [_picture(s) for s in batch]
        prompts = [self.cell.model["template"].format(question=s.prompt) for s in batch]
        made = self.processor(images=images, text=prompts, return_tensors="pt", padding=True).to(self.device)
        made["pixel_values"] = made["pixel_values"].to(getattr(torch, self.cell.model["dtype"]))
        return {k: made[k] for k in ("input_ids", "attention_mask", "pixel_values")}

    def texts(self, batch: Sequence[Sample]) -> list[PromptText]:
        """Their prompts, for reducers that read."""
        questions = [s.prompt for s in batch]
        return prompt_texts(self.processor.tokenizer, self.cell.model["template"], questions)

    def __call__(self, batch: Sequence[Sample]) -> list[dict[str, Any]]:
        """One row {record, trace} per sample. Any exception fails the cell: none becomes an answer."""
        said = self.texts(batch)
        new, trace = self.host.generate(
            self.inputs(batch),
            ids=[s.id for s in batch],
            prompt=said,
            max_new_tokens=int(self.cell.task["max_new_tokens"]),
            do_sample=bool(self.cell.decoding["do_sample"]),
        )
        stop = self.processor.tokenizer.eos_token_id
        lengths = [_length(row, stop) for row in new.tolist()]
        texts = self.processor.batch_decode(new, skip_special_tokens=True)
        rows = []
        for b, (sample, text) in enumerate(zip(batch, texts, strict=True)):
            record = sample.record(text.strip()).to_dict() | {"new_tokens": lengths[b]}
            rows.append(
                {"record": record, "trace": self.host.row(trace, b, said[b]) | {"new_tokens": lengths[b]}}
            )
        return rows


def _picture(sample: Sample) -> Any:
    """The one picture of a question, RGB. Raises TaskError by name: a file may be cut behind a sound header."""
    from PIL import Image

    if len(sample.images) != 1:
        raise TaskError(f"sample {sample.id}: {len(sample.images)} pictures; one per question is supported")
    try:
        return Image.open(sample.images[0]).convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise TaskError(
            f"{sample.images[0]} (sample {sample.id}): not readable as an image ({error}); fetch the data again"
        ) from error


def _length(tokens: list[int], stop: int) -> int:
    """Tokens generated, the stop token included."""
    return tokens.index(stop) + 1 if stop in tokens else len(tokens)


def provenance(
    cell: Cell, root: Path, code: str, keep: Mapping[str, Any], started: str, samples: int, device: str
) -> dict[str, Any]:
    """Where these answers come from; no times of day except the start, which no hash includes."""
    import torch

    packages = ("prunegrid", "torch", "transformers", "tokenizers", "pillow", "numpy")
    picked = weights.device_of(cell, device)
    return {
        "cell": cell.to_dict(),
        "resolved": dict(keep),
        "code": code,
        "git": code_version(root),
        "data": dict(cell.data),
        "model_revision": cell.model["revision"],
        "dtype": cell.model["dtype"],
        "batch_size": cell.decoding["batch_size"],
        "seed": cell.seed,
        "versions": {p: version(p) for p in packages} | {"python": platform.python_version()},
        "hardware": torch.cuda.get_device_name()
        if picked.startswith("cuda")
        else f"{platform.machine()} cpu",
        "threads": torch.get_num_threads(),
        "started": started,
        "samples": samples,
    }


def code_version(root: Path) -> str:
    """The commit, with + where files differ from it; 'unknown' outside a checkout."""
    try:
        run = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return run.stdout.strip()
