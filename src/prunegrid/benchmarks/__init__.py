"""Benchmarks as their authors and the hub publish them -> one canonical form on disk; one file per benchmark."""
