"""Rows that are scored together: the two questions of an MME pair, the rotations of an MMBench question."""

from collections.abc import Mapping, Sequence
from typing import Any

from prunegrid.tasks.errors import TaskError


def collect(rows: Sequence[Mapping[str, Any]], key: str, size: int | None = None) -> list[list[int]]:
    """Positions of the rows of each group, groups and rows in order of appearance.

    A group must have `size` rows (None: as many as each of its rows says in `group_size`) and lie in one
    cluster: an incomplete group has no score, and a wrong one would look like a result. TaskError if not.
    """
    groups: dict[str, list[int]] = {}
    for position, row in enumerate(rows):
        groups.setdefault(row[key], []).append(position)
    for name, positions in groups.items():
        wanted = rows[positions[0]]["group_size"] if size is None else size
        if len(positions) != wanted:
            raise TaskError(
                f"{key} {name!r}: {len(positions)} of {wanted} questions (id {rows[positions[0]]['id']!r});"
                " they are scored together, so cut a trial run between clusters (limit_clusters)"
            )
        clusters = {rows[position]["cluster"] for position in positions}
        if len(clusters) > 1:
            raise TaskError(f"{key} {name!r}: lies in several clusters ({', '.join(sorted(clusters))})")
    return list(groups.values())
