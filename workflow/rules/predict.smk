# A cell's answers: the GPU job. It resumes by id from a partial file that is no output of this rule.
rule predict:
    input:
        prediction_inputs,
    output:
        records="results/predictions/{prediction}/records.jsonl",
        trace="results/predictions/{prediction}/trace.jsonl",
        provenance="results/predictions/{prediction}/provenance.json",
    log:
        "logs/predict/{prediction}.log",
    priority: turn
    threads: 1
    resources:
        gpu=lambda wildcards: 1 if shards_of(wildcards) == 1 else 0,
        mem_mb=needs("mem_mb"),
        runtime=needs("runtime"),
    params:
        cell=cell_file,
        config=of_prediction("prediction"),
        data=lambda wildcards: sorted(
            PREDICTIONS[wildcards.prediction]["cell"]["data"].items()
        ),
        code=of_prediction("code"),
        device=config["device"],
    shell:
        "HF_HUB_OFFLINE=1 OMP_NUM_THREADS={threads} python -m prunegrid predict {params.cell} --code {params.code} --device {params.device} > {log} 2>&1"


# One part of a long prediction; the rule above then only puts the parts together.
rule predict_shard:
    input:
        shard_inputs,
    output:
        "results/predictions/{prediction}/shards/{part}-of-{parts}.json",
    log:
        "logs/predict/{prediction}.{part}-of-{parts}.log",
    priority: turn
    threads: 1
    resources:
        gpu=1,
        mem_mb=needs("mem_mb"),
        runtime=needs("runtime"),
    params:
        cell=cell_file,
        config=of_prediction("prediction"),
        data=lambda wildcards: sorted(
            PREDICTIONS[wildcards.prediction]["cell"]["data"].items()
        ),
        code=of_prediction("code"),
        device=config["device"],
    shell:
        "HF_HUB_OFFLINE=1 OMP_NUM_THREADS={threads} python -m prunegrid predict {params.cell} --code {params.code} --device {params.device}"
        " --shard {wildcards.part}/{wildcards.parts} > {log} 2>&1"
