"""PruneGrid: what each choice in visual-token reduction costs, and what it buys."""
