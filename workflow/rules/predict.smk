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
        "OMP_NUM_THREADS={threads} python -m prunegrid predict {params.cell} --code {params.code} --device {params.device} > {log} 2>&1"
