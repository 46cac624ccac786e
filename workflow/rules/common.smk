# Functions for the rules: the plan, and what each cell needs. No rules, no logic of the grid.
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from prunegrid.grid import demand, settings, takeover
from prunegrid.grid.data import stamp
from prunegrid.grid.errors import GridError
from prunegrid.grid.index import Tables

SCHEMA = Path(workflow.basedir) / "workflow" / "schemas" / "config.schema.yaml"
try:
    settings.check(config, SCHEMA)
except GridError as error:
    raise WorkflowError(str(error)) from error
validate(config, "../schemas/config.schema.yaml")

STUDY = config["study"]
HERE = config["judge"] == "here"  # score, cost and compare beside Snakemake, or as jobs
LIGHT = {  # what a job without a model asks for
    "runtime": lambda wildcards, attempt: 30 * attempt,
    "mem_mb": lambda wildcards, attempt: 4000 * attempt,
}
PYTHON = sys.executable
STORE = config["mlflow"]
shell.prefix(
    f"export PATH={Path(PYTHON).parent}:$PATH; "
)  # `python` is the one that runs this


def load_tables():
    """Plan in the main process; a job looks up its own rows in what the main process wrote. A dry run leaves no plan."""
    written = None if workflow.is_main_process else Tables.read(Path("results"), STUDY)
    if written:
        return written
    from prunegrid.grid.plan import make  # hydra: a job does without

    choose = {k: config[k] for k in ("model", "limit") if config.get(k) is not None}
    try:
        plan = make(
            Path(), Path("results"), STUDY, choose, workflow.output_settings.dryrun
        )
    except GridError as error:
        raise WorkflowError(
            f"the study {STUDY!r} cannot be planned: {error}"
        ) from error
    return Tables.of(plan.rows, plan.latency)


if workflow.is_main_process:
    print(takeover.release(), end="", file=sys.stderr)
TABLES = load_tables()
CELLS, PREDICTIONS, TUNINGS = TABLES.cells, TABLES.predictions, TABLES.tunings
MADE, DATA, MODELS = TABLES.made, TABLES.data, TABLES.models
SHARDS = config.get("shards") or {}


wildcard_constraints:
    cell="[a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+-[0-9a-f]{10}",
    prediction="[a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+-[0-9a-f]{10}",
    study="[a-z0-9_]+",
    out="[A-Za-z0-9_]+",
    model="[a-z0-9_]+",
    adapter="[a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+-[0-9a-f]{10}",
    digest="[0-9a-f]{12}",
    part="[0-9]+",
    parts="[0-9]+",


def data_stamps(row):
    return [f"results/data/{stamp(path)}.json" for path in row["cell"]["data"]]


def shard_inputs(wildcards):
    """The data and the model that a prediction reads, and the trace that sets its budget."""
    row = PREDICTIONS[wildcards.prediction]
    files = data_stamps(row)
    if row["model"] in MODELS:
        files.append(f"results/models/{row['model']}.json")
    if row["like"]:
        files.append(f"results/predictions/{row['like']}/trace.jsonl")
    if row["adapter"]:
        files.append(f"results/adapters/{row['adapter']}/weights.safetensors")
    return files


def tuning_inputs(wildcards):
    """The data and the model that a tuning reads, the tuning that it starts from, the trace that sets its budget."""
    each = TUNINGS[wildcards.adapter]
    files = [f"results/data/{stamp(path)}.json" for path in each["data"]]
    if each["model"] in MODELS:
        files.append(f"results/models/{each['model']}.json")
    if each["made"]:
        files.append(f"results/made/{each['made']['digest']}")
    if each["after"]:
        files.append(f"results/adapters/{each['after']}/weights.safetensors")
    if each["like"]:
        files.append(f"results/predictions/{each['like']}/trace.jsonl")
    return files


def tuning_needs(field):
    """Memory or time of a tuning, from its model; more with each attempt."""
    return lambda wildcards, attempt: getattr(
        demand.of_tuning(CELLS[TUNINGS[wildcards.adapter]["cell"]]["cell"], attempt),
        field,
    )


def shards_of(wildcards):
    """How many jobs answer a prediction: --config shards={task: n}; no part of its identity."""
    return int(SHARDS.get(PREDICTIONS[wildcards.prediction]["task"]["name"], 1))


def prediction_inputs(wildcards):
    """What its shards read, and the shards where there are several."""
    count = shards_of(wildcards)
    folder = f"results/predictions/{wildcards.prediction}/shards"
    parts = [f"{folder}/{k}-of-{count}.json" for k in range(1, count + 1)]
    return shard_inputs(wildcards) + (parts if count > 1 else [])


def of_prediction(field):
    return lambda wildcards: PREDICTIONS[wildcards.prediction][field]


def needs(field):
    """Memory or time of a prediction, from its model and task; more with each attempt."""
    return lambda wildcards, attempt: getattr(
        demand.of_prediction(
            PREDICTIONS[wildcards.prediction]["cell"], Path(), attempt
        ),
        field,
    )


def of_cell(field):
    return lambda wildcards: CELLS[wildcards.cell][field]


def cell_file(wildcards, output):
    """The cell.yaml that a prediction is run from: of any cell that has it. As a function of `output` it is no reason to
    predict again: another of the cells (after a new scorer, say) asks the same."""
    return f"results/cells/{PREDICTIONS[wildcards.prediction]['id']}/cell.yaml"


def tuned_cell_file(wildcards, output):
    """The cell.yaml that a tuning is run from; `output` as above: any cell that has it trains the same."""
    return f"results/cells/{TUNINGS[wildcards.adapter]['cell']}/cell.yaml"


def prediction_of_cell(wildcards):
    prediction = CELLS[wildcards.cell]["prediction"]
    return f"results/predictions/{prediction}/records.jsonl"


def latency_points(wildcards):
    """What the study wants measured, as the command line takes it."""
    given = {
        k: v if isinstance(v, int) else ",".join(map(str, v))
        for k, v in (TABLES.latency or {}).items()
    }
    return " ".join(f"--{k.replace('_', '-')} {v}" for k, v in given.items())


def all_predictions(wildcards):
    return expand(
        "results/predictions/{prediction}/records.jsonl", prediction=PREDICTIONS
    )


def measured(cell):
    """The measurements that a cell's tracking and table wait for: its own and its full-token twin's."""
    row = CELLS[cell]
    ids = dict.fromkeys(filter(None, [row["baseline"], cell])) if TABLES.latency else ()
    return [f"results/cells/{i}/latency.json" for i in ids]


def counts_to_compare(wildcards):
    row = CELLS[wildcards.cell]
    ids = [wildcards.cell, row["baseline"], row["blind"]]
    return [
        f"results/cells/{cell}/counts.json" for cell in dict.fromkeys(filter(None, ids))
    ]


def twins(wildcards):
    row = CELLS[wildcards.cell]
    return " ".join(f"--{k} {row[k]}" for k in ("baseline", "blind") if row[k])


def scores(wildcards):
    """Asked for by name: what stands behind a finished page is no longer looked at, and a score that is gone comes back."""
    return [f"results/cells/{row['id']}/score.json" for row in TABLES.rows]


def announce():
    """The banner of a run."""
    shown = [row for row in TABLES.rows if not row["support"]]
    models = ", ".join(sorted({row["model"] for row in TABLES.rows}))
    limit = f", first {config['limit']} questions" if config.get("limit") else ""
    print(
        f"\n  PruneGrid  study {STUDY}  model {models}  {len(shown)} cells, "
        f"{len(PREDICTIONS)} predictions{limit}\n",
        file=sys.stderr,
    )


def wrap_up():
    """The table, failed cells with the way to run them again, and where to look. Never hides the run's own result."""
    subprocess.run(
        [PYTHON, "-m", "prunegrid", "wrapup", STUDY, "--store", STORE], check=False
    )
