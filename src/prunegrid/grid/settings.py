"""What may be said with `snakemake --config`: workflow/schemas/config.schema.yaml, with errors that say what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunegrid.grid import plain
from prunegrid.grid.errors import GridError, unknown

KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "object": (Mapping,),
    "null": (type(None),),
}


def check(config: Mapping[str, Any], schema: Path) -> None:
    """Raise GridError for a key that the schema has not, or a value that it does not allow."""
    rules = plain.read(schema, str(schema))["properties"]
    for key, value in config.items():
        if key not in rules:
            raise unknown("key", key, rules, "snakemake --config")
        if not _fits(value, rules[key]):
            raise GridError(f"snakemake --config {key}={value}: {key} must be {rules[key]['description']}")


def _fits(value: Any, rule: Mapping[str, Any]) -> bool:
    named = rule.get("type", [])
    kinds = tuple(k for name in ([named] if isinstance(named, str) else named) for k in KINDS[name])
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    if isinstance(value, str) and not re.search(rule.get("pattern", ""), value):
        return False
    if isinstance(value, int) and value < rule.get("minimum", value):
        return False
    if isinstance(value, Mapping):
        return all(_fits(each, rule.get("additionalProperties", {})) for each in value.values())
    return value in rule.get("enum", [value])
