# Which cells are computed first, and which are tracked together.
from functools import cache

AT_ONCE = 16  # cells that one process tracks


@cache
def turns():
    """The place of each prediction in the plan's order, as a priority: rows of a table are finished one by one."""
    return {prediction: -place for place, prediction in enumerate(PREDICTIONS)}


def turn(wildcards):
    return turns()[wildcards.prediction]


def tuning_turn(wildcards):
    return turns()[CELLS[TUNINGS[wildcards.adapter]["cell"]]["prediction"]]


@cache
def parts_of_study():
    """The cells of the table in the plan's order, cut into what one process tracks: number of a part -> ids."""
    ids = [row["id"] for row in TABLES.rows if not row["support"]]
    cuts = range(0, len(ids), AT_ONCE)
    return {f"{n:04d}": ids[k : k + AT_ONCE] for n, k in enumerate(cuts)}


def part_of(wildcards):
    return parts_of_study()[wildcards.part]


def results_of(cell):
    """What the runs and the table show of a cell."""
    mine = [f"results/cells/{cell}/{name}.json" for name in ("score", "cost", "paired")]
    prediction = CELLS[cell]["prediction"]
    return [
        *mine,
        f"results/predictions/{prediction}/provenance.json",
        *measured(cell),
    ]


def tracked_cells(wildcards):
    return [f"results/tracked/{STUDY}/part-{part}.txt" for part in parts_of_study()]
