"""MMBench dev, Chinese: as the English one. Source: mmbench_dev_cn_20231003.tsv, and its copy on the hub."""

from __future__ import annotations

from collections.abc import Iterator

from prunegrid.benchmarks.canonical import Item
from prunegrid.benchmarks.mmbench import COUNTS, items
from prunegrid.benchmarks.tree import Tree

REPOSITORY, PATTERNS = "MMBench", ("cn/dev-*.parquet",)

__all__ = ["COUNTS", "PATTERNS", "REPOSITORY", "read"]


def read(tree: Tree) -> Iterator[Item]:
    return items(tree, "mmbench_dev_cn_20231003.tsv", "mmbench_dev_cn*.tsv")
