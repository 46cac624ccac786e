"""The text of cell.yaml, put together from its top-level keys: thousands of cells share most of their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

OWN = ("id", "prediction", "adapter")  # what no other cell shares


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """libyaml writes the same ten times as fast. No anchors, whatever two keys share."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def text(cell: Mapping[str, Any], parts: dict[str, str]) -> str:
    """What `yaml.safe_dump(cell, sort_keys=False)` writes for a plain tree that shares nothing.

    parts: texts of values seen so far, filled here; one dictionary for all cells of a plan.
    """
    shared = {k: v for k, v in cell.items() if k not in OWN}
    return _dumped({k: v for k, v in cell.items() if k in OWN}) + "".join(
        _part(key, value, parts) for key, value in shared.items()
    )


def _part(key: str, value: Any, parts: dict[str, str]) -> str:
    name = f"{key} {value!r}"
    if name not in parts:
        parts[name] = _dumped({key: value})
    return parts[name]


def _dumped(value: Mapping[str, Any]) -> str:
    return str(yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False))
