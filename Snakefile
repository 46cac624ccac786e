# The table of contents. A study's cells are planned once, resolved and hashed; each rule below is one stage of a cell.
#   snakemake --profile slurm                                   the demo study on a Slurm cluster
#   snakemake --profile workflow/profiles/local                 the same on this machine
#   snakemake --profile ... --config study=NAME limit=64        another study, the first questions only
from snakemake.utils import min_version

min_version("9.20")


configfile: "workflow/config.yaml"


container: "docker://python:3.11-slim"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/pace.smk"
include: "workflow/rules/order.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/mini.smk"
include: "workflow/rules/tune.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/latency.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/track.smk"
include: "workflow/rules/study.smk"


rule all:
    default_target: True
    input:
        f"results/studies/{STUDY}/index.html",
        tracked_cells,
        scores,
    localrule: True


onstart:
    look_when_jobs_end()
    takeover.record()
    announce()


onsuccess:
    wrap_up()


onerror:
    wrap_up()
