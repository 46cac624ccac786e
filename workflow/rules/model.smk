# Fetch a model at its pinned revision, on the node that runs the workflow: jobs ask no hub.
rule model:
    output:
        "results/models/{model}.json",
    log:
        "logs/model/{model}.log",
    localrule: True
    params:
        revision=lambda wildcards: MODELS[wildcards.model]["revision"],
    shell:
        "python -m prunegrid model add {wildcards.model} --pinned --stamp {output} 2>&1 | tee {log} >&2; exit ${{PIPESTATUS[0]}}"
