# Fetch and verify one out of data.dvc; the stamp says what was found.
rule data:
    output:
        "results/data/{out}.json",
    log:
        "logs/data/{out}.log",
    retries: 1
    localrule: True
    params:
        path=lambda wildcards: DATA[wildcards.out][0],
        md5=lambda wildcards: DATA[wildcards.out][1],
    shell:
        "python -m prunegrid data pull {params.path} --md5 {params.md5} --stamp {output} > {log} 2>&1 || {{ cat {log} >&2; false; }}"
