# A study's table, figures and page, beside the published numbers where the model is the published one.
rule study:
    input:
        tracked_cells,
    output:
        page=report(
            "results/studies/{study}/index.html",
            category="Study",
            caption="../report/table.rst",
            labels={"study": "{study}", "what": "the whole page"},
        ),
        table=report(
            "results/studies/{study}/table.html",
            category="Study",
            caption="../report/table.rst",
            labels={"study": "{study}", "what": "table"},
        ),
        tokens=report(
            "results/studies/{study}/front_tokens.svg",
            category="Study",
            caption="../report/front.rst",
            labels={"study": "{study}", "what": "score over visual tokens"},
        ),
        flops=report(
            "results/studies/{study}/front_flops.svg",
            category="Study",
            caption="../report/front.rst",
            labels={"study": "{study}", "what": "score over FLOPs"},
        ),
        figures=report(
            directory("results/studies/{study}/figures"),
            patterns=["{figure}.svg"],
            category="Study",
            caption="../report/curve.rst",
            labels={"study": "{study}", "what": "{figure}"},
        ),
        overlays=report(
            directory("results/studies/{study}/overlays"),
            patterns=["{picture}.png"],
            category="Kept tokens",
            caption="../report/overlay.rst",
            labels={"study": "{study}", "picture": "{picture}"},
        ),
    log:
        "logs/study/{study}.log",
    localrule: True
    resources:
        mlflow=1,
    params:
        store=STORE,
    shell:
        "(python -m prunegrid.warm prunegrid.report study --results results --study {wildcards.study} --out results/studies/{wildcards.study} &&"
        " python -m prunegrid.warm prunegrid.track study --results results --store {params.store} --study {wildcards.study}"
        " --page results/studies/{wildcards.study}) > {log} 2>&1"
