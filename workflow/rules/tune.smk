# What cells are evaluated with: trained once for all cells that share it. The state to resume from is no output.
rule tuning_data:
    output:
        directory("results/made/{digest}"),
    log:
        "logs/made/{digest}.log",
    localrule: True
    params:
        module=lambda wildcards: MADE[wildcards.digest],
    shell:
        "python -m {params.module} {output} > {log} 2>&1"


# On SIGUSR1, SIGUSR2 or SIGTERM it saves into results/tuning/{adapter}, ends with code 75, and goes on from there.
rule tune:
    input:
        tuning_inputs,
    output:
        weights="results/adapters/{adapter}/weights.safetensors",
        metrics="results/adapters/{adapter}/metrics.jsonl",
        faults="results/adapters/{adapter}/faults.json",
        provenance="results/adapters/{adapter}/provenance.json",
    log:
        "logs/tune/{adapter}.log",
    priority: tuning_turn
    threads: 1
    resources:
        gpu=1,
        mem_mb=tuning_needs("mem_mb"),
        runtime=tuning_needs("runtime"),
    params:
        cell=tuned_cell_file,
        device=config["device"],
    shell:
        "HF_HUB_OFFLINE=1 OMP_NUM_THREADS={threads} python -m prunegrid tune {params.cell} --adapter {wildcards.adapter}"
        " --device {params.device} > {log} 2>&1"
