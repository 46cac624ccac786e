# Measured time and memory of a cell, no part of any hash. It waits for the study's predictions, and takes turns by the
# resource `latency`, so that nothing else of the study runs beside it on this machine; on a cluster it has a node alone.
rule latency:
    input:
        prediction_of_cell,
        all_predictions,
    output:
        "results/cells/{cell}/latency.json",
    log:
        "logs/latency/{cell}.log",
    resources:
        gpu=1,
        mem_mb=16000,
        runtime=120,
        latency=1,
    params:
        points=latency_points,
        device=config["device"],
    shell:
        "python -m prunegrid latency results/cells/{wildcards.cell}/cell.yaml --name latency.json {params.points} --device {params.device} > {log} 2>&1"
