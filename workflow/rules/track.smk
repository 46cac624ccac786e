# One MLflow run per cell and study; serial by the resource mlflow.
rule track:
    input:
        score="results/cells/{cell}/score.json",
        cost="results/cells/{cell}/cost.json",
        paired="results/cells/{cell}/paired.json",
        provenance=lambda wildcards: f"results/predictions/{CELLS[wildcards.cell]['prediction']}/provenance.json",
        latency=lambda wildcards: measured(wildcards.cell),
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
        "python -m prunegrid.track cell --results results --store {params.store} --study {wildcards.study} --cell {wildcards.cell} > {log} 2>&1"
