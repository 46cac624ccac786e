"""The options of conf/, each composed by hydra once, then combined as plain mappings: 60 ms an option, not a cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from prunegrid.grid import plain
from prunegrid.grid.code import check_target
from prunegrid.grid.errors import GridError, unknown
from prunegrid.grid.schema import DecodingConfig, ModelConfig, register

GROUPS = ("model", "reducer", "task", "tuning", "decoding")
SCHEMAS = MappingProxyType({"model": ModelConfig, "decoding": DecodingConfig})


@dataclass
class Options:
    """Composed options of one conf/ folder; `known` caches group/choice -> mapping."""

    conf: Path
    known: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, conf: Path) -> Options:
        return cls(conf, {})

    def choices(self, group: str) -> list[str]:
        return sorted(p.stem for p in (self.conf / group).glob("*.yaml"))

    def get(self, group: str, choice: str, where: str) -> dict[str, Any]:
        """The composed option. Unknown names are errors with near ones."""
        key = f"{group}/{choice}"
        if key not in self.known:
            if choice not in self.choices(group):
                raise unknown(group, choice, self.choices(group), where)
            self._check_plain(group, choice)
            made = self.compose([f"{group}={choice}"])[group]
            if group in ("reducer", "task"):
                check_target(made.get("_target_"), f"conf/{group}/{choice}.yaml")
            self.known[key] = made
        return self.known[key]

    def _check_plain(self, group: str, choice: str) -> None:
        """Before hydra looks: its parser's words name no file."""
        where = f"conf/{group}/{choice}.yaml"
        held = plain.read(self.conf / group / f"{choice}.yaml", where)
        if not isinstance(held, Mapping):
            raise GridError(f"{where} must hold a mapping of options, not {held!r}")
        schema = SCHEMAS.get(group)
        if schema is None:
            return
        names = [f.name for f in fields(schema)]
        for key in set(held) - {*names, "defaults"}:
            raise unknown("option", key, names, where)

    def compose(self, overrides: list[str]) -> dict[str, Any]:
        """hydra's own composition of conf/cell.yaml with overrides, as plain JSON."""
        register()
        try:
            with initialize_config_dir(str(self.conf.resolve()), version_base="1.3"):
                composed = compose("cell", overrides=overrides)
                made = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
        except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
            chosen = " and ".join(f"conf/{o.replace('=', '/')}.yaml" for o in overrides) or "conf/cell.yaml"
            raise GridError(f"{chosen}: {' '.join(str(error.__cause__ or error).split())}") from error
        return cast(dict[str, Any], made)  # a config whose root is a mapping

    def with_values(self, group: str, choice: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """An option with some of its values replaced. A key that its yaml does not hold is an error."""
        base = self.get(group, choice, where)
        typed = {}
        for key, value in values.items():
            if key not in base or key in ("name", "_target_"):
                raise unknown(f"option of {group} {choice!r}", key, set(base) - {"name", "_target_"}, where)
            typed[key] = _as(base[key], value, f"{where}: {group} {choice}.{key}")
        return {**base, **typed}


def _as(like: Any, value: Any, where: str) -> Any:
    """`value` in the type of the option's own value: 2 and 2.0 are one number where the yaml holds a float. But not
    where it holds a share: 0.25 is a quarter of the tokens, 1.0 all of them, and 20 or 1 are so many tokens."""
    if isinstance(value, float) and not math.isfinite(value):
        raise GridError(f"{where}={value!r} must be a finite number")
    number = _number(value)
    if isinstance(like, bool) and not isinstance(value, bool):
        raise GridError(f"{where}={value!r} must be true or false")
    if isinstance(like, str) and not isinstance(value, str | None):
        raise GridError(f"{where}={value!r} must be a word")
    several = isinstance(like, Mapping) and any(isinstance(part, list) for part in like.values())
    if several and isinstance(value, list) and value and all(map(_number, value)):
        return value  # a figure that is a list, one for each stage
    figure = isinstance(like, int | float | Mapping) and not isinstance(like, bool)
    if figure and not (number or isinstance(value, Mapping) or value == "all"):
        plain = "a list of numbers" if several else "a number, `all`,"
        shown = dict(like) if several else "{of: 576, keep: 64}"
        raise GridError(f"{where}={value!r} must be {plain} or a figure like {shown}")
    share = isinstance(like, float) and 0 < like <= 1
    return float(value) if isinstance(like, float) and number and not share else value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
