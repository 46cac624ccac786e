"""Tests of the executor plugin."""
