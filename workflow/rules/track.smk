# Cells of a study as MLflow runs, some in one process: to start it takes longer than to track. Serial by the resource mlflow.
rule track:
    input:
        lambda wildcards: [
            file for cell in part_of(wildcards) for file in results_of(cell)
        ],
    output:
        "results/tracked/{study}/part-{part}.txt",
    log:
        "logs/track/{study}/part-{part}.log",
    priority: 1
    localrule: True
    resources:
        mlflow=1,
    params:
        store=STORE,
        cells=part_of,
    shell:
        "(python -m prunegrid.warm prunegrid.track cell --results results --store {params.store} --study {wildcards.study} --cell {params.cells}"
        " && echo {params.cells} > {output}) > {log} 2>&1"


# One cell by name, for `prunegrid cell` and `prunegrid rerun`; the rule above writes this file too, and knows it.
rule track_cell:
    input:
        lambda wildcards: results_of(wildcards.cell),
    output:
        "results/tracked/{study}/{cell}.json",
    log:
        "logs/track/{study}/{cell}.log",
    localrule: True
    resources:
        mlflow=1,
    params:
        store=STORE,
    shell:
        "python -m prunegrid.warm prunegrid.track cell --results results --store {params.store} --study {wildcards.study} --cell {wildcards.cell} > {log} 2>&1"
