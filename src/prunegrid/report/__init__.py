"""A study's tables, fronts and pictures, read from the files under `results/`.

`results` reads, `summary` joins seeds and corrects for multiple comparison, `tables` / `figures` / `overlay`
show, `page` puts everything on one page that needs no network.
"""
