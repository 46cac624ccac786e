"""The stages of a cell, files in and files out; the only place where reduce, tasks, stats, cost and grid meet."""
