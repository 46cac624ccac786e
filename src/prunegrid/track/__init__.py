"""Finished cells into MLflow: a consumer of result files, so the store can always be rebuilt from `results/`.

`entry` says what a run holds, `store` opens the store, `runs` writes without ever writing twice, `cells` and
`study` are the two kinds of runs, `views` describes the dashboard.
"""
