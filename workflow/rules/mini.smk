# Train the embedded model anew (not part of any study): snakemake --profile ... mini
rule mini_vision:
    output:
        "results/mini/vision.pt",
    log:
        "logs/mini/vision.log",
    threads: 2
    resources:
        runtime=240,
        mem_mb=6000,
    params:
        state="work/mini",
    shell:
        "(python -m prunegrid.mini.train vision {params.state} --threads {threads} && cp {params.state}/vision.pt {output})"
        " > {log} 2>&1"


rule mini_language:
    input:
        "results/mini/vision.pt",
    output:
        directory("results/mini/weights"),
    log:
        "logs/mini/language.log",
    threads: 2
    resources:
        runtime=480,
        mem_mb=6000,
    params:
        state="work/mini",
    shell:
        "(python -m prunegrid.mini.train language {params.state} --threads {threads} &&"
        " python -m prunegrid.mini.train save {params.state} {output}) > {log} 2>&1"


rule mini_scenes:
    output:
        directory("results/mini/scenes"),
    log:
        "logs/mini/scenes.log",
    shell:
        "python -m prunegrid.mini.suites {output} > {log} 2>&1"


rule mini:
    input:
        "results/mini/weights",
        "results/mini/scenes",
    localrule: True
