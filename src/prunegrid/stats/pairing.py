"""Bring two runs over the same clusters into the same order."""

from collections.abc import Sequence

from prunegrid.stats.arrays import Array, as_counts


def align(
    clusters: Sequence[str], counts: Array, other_clusters: Sequence[str], other_counts: Array
) -> tuple[Array, Array]:
    """Both counts [clusters, c] in the order of `clusters`.

    ValueError if a cluster is named twice or is not in both: runs over different questions are not paired.
    """
    counts, other = as_counts(counts), as_counts(other_counts)
    for names, array in ((clusters, counts), (other_clusters, other)):
        if len(set(names)) != len(names) or len(names) != len(array):
            raise ValueError(f"{len(names)} cluster names, {len(set(names))} distinct, for {len(array)} rows")
    only = sorted(set(clusters).symmetric_difference(other_clusters))
    if only:
        raise ValueError(
            f"{len(only)} clusters are in one run only (first: {', '.join(only[:3])}): not paired"
        )
    place = {name: row for row, name in enumerate(other_clusters)}
    return counts, other[[place[name] for name in clusters]]
