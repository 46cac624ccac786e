"""The ablation grid: cells, studies, plans. Imports hydra, yaml and the standard library; a Snakefile may import it."""
