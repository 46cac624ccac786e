"""Analytic cost: against hand-computed cases and against the published tables."""
