"""How long 10,000 bootstrap replicates take on one core, whole metric recomputed in each: at most 5 s is wanted.

python benchmarks/stats.py            # prints a line per benchmark, then the machine and the date
"""

import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from stamp import stamp

from prunegrid.stats.bootstrap import REPLICATES, bootstrap, paired_bootstrap
from prunegrid.stats.swap import swap_test
from prunegrid.tasks import Task
from prunegrid.tasks.mmbench import MmBench
from prunegrid.tasks.mme import Mme
from prunegrid.tasks.pope import SPLITS, Pope
from prunegrid.tasks.vqav2 import VqaV2

LIMIT = 5.0  # seconds


def pope(rng: np.random.Generator) -> Iterator[Mapping[str, Any]]:
    """9,000 judged questions about 500 images."""
    for i in range(9000):
        answer = ("yes", "no")[i % 2]
        said = answer if rng.random() < 0.86 else ("no" if answer == "yes" else "yes")
        yield {
            "id": str(i), "cluster": str(i % 500), "split": SPLITS[i % 3], "answer": answer, "prediction": said,
            "correct": said == answer,
        }  # fmt: skip


def mme(rng: np.random.Generator) -> Iterator[Mapping[str, Any]]:
    """2,374 judged questions, two for each of 1,187 images."""
    subtasks = Mme(file="f", prompt="").subtasks
    for i in range(2374):
        right = bool(rng.random() < 0.8)
        pair = str(i // 2)
        yield {
            "id": str(i), "cluster": pair, "pair": pair, "subtask": subtasks[i // 2 % 14], "prediction": "yes",
            "correct": right,
        }  # fmt: skip


def mmbench(rng: np.random.Generator) -> Iterator[Mapping[str, Any]]:
    """4,704 judged rows of 1,176 questions in four rotations."""
    for i in range(4704):
        group = str(i // 4)
        yield {
            "id": str(i), "cluster": group, "group": group, "group_size": 4, "rotation": i % 4, "prediction": "A",
            "correct": bool(rng.random() < 0.8),
        }  # fmt: skip


def vqa(rng: np.random.Generator) -> Iterator[Mapping[str, Any]]:
    """20,000 judged questions about 5,000 images."""
    for i in range(20_000):
        yield {
            "id": str(i),
            "cluster": str(i // 4),
            "type": None,
            "prediction": "x",
            "score": 0.3 * rng.integers(4),
        }


CASES: dict[str, tuple[Task, Any]] = {
    "POPE, 9,000 questions, 500 images": (Pope(file="f", prompt=""), pope),
    "MME, 2,374 questions, 1,187 images": (Mme(file="f", prompt=""), mme),
    "MMBench, 4,704 rows, 1,176 questions": (MmBench(file="f", prompt=""), mmbench),
    "VQA, 20,000 questions, 5,000 images": (VqaV2(file="f", prompt=""), vqa),
}


def seconds(work: Any) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> int:
    """Print the times; 1 if POPE's paired bootstrap takes longer than the limit."""
    print(f"{REPLICATES:,} replicates, one core{'':18} one run   a difference   a swap test")
    slow = 0.0
    for name, (task, draw) in CASES.items():
        ours, theirs = (task.counts(list(draw(np.random.default_rng(seed))))[1] for seed in (0, 1))
        one = seconds(lambda c=ours, t=task: bootstrap(c, t.metric))
        two = seconds(lambda a=ours, b=theirs, t=task: paired_bootstrap(a, b, t.metric))
        swap = seconds(lambda a=ours, b=theirs, t=task: swap_test(a, b, t.metric))
        print(f"{name:42} {one:7.2f} s  {two:10.2f} s  {swap:10.2f} s")
        slow = max(slow, two if "POPE" in name else 0.0)
    print(stamp())
    return int(slow > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
