# From answers to numbers: light, and redone without a GPU. On a cluster these are jobs too (`judge: job`).
rule score:
    input:
        records=lambda wildcards: f"results/predictions/{CELLS[wildcards.cell]['prediction']}/records.jsonl",
    output:
        score="results/cells/{cell}/score.json",
        counts="results/cells/{cell}/counts.json",
        judged="results/cells/{cell}/judged.jsonl",
    log:
        "logs/score/{cell}.log",
    localrule: HERE
    resources:
        **LIGHT,
    params:
        scorer=of_cell("scorer"),
    shell:
        "python -m prunegrid score results/cells/{wildcards.cell}/cell.yaml --code {params.scorer} > {log} 2>&1"


rule cost:
    input:
        trace=lambda wildcards: f"results/predictions/{CELLS[wildcards.cell]['prediction']}/trace.jsonl",
        records=lambda wildcards: f"results/predictions/{CELLS[wildcards.cell]['prediction']}/records.jsonl",
    output:
        cost="results/cells/{cell}/cost.json",
        kept="results/cells/{cell}/kept.json",
    log:
        "logs/cost/{cell}.log",
    localrule: HERE
    resources:
        **LIGHT,
    params:
        costing=of_cell("costing"),
    shell:
        "python -m prunegrid cost results/cells/{wildcards.cell}/cell.yaml --code {params.costing} > {log} 2>&1"


rule compare:
    input:
        counts_to_compare,
    output:
        "results/cells/{cell}/paired.json",
    log:
        "logs/compare/{cell}.log",
    localrule: HERE
    resources:
        **LIGHT,
    params:
        twins=twins,
    shell:
        "python -m prunegrid compare results/cells/{wildcards.cell}/cell.yaml {params.twins} > {log} 2>&1"
