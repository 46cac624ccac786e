"""The machines of conf/hardware: one by its file's name, or the one that is at hand."""

from __future__ import annotations

from pathlib import Path

import yaml

from prunegrid.cost import Hardware
from prunegrid.cost.devices import is_one
from prunegrid.grid.errors import GridError, unknown


def machine_of(root: Path, name: str) -> Hardware:
    """conf/hardware/`name`.yaml. Raises GridError for a name that is not there, and for a file that is no hardware."""
    known = [file.stem for file in _files(root)]
    if name not in known:
        raise unknown("hardware", name, known, "--hardware")
    return _read(root / "conf" / "hardware" / f"{name}.yaml")[0]


def of_device(root: Path, device: str) -> Hardware | None:
    """The machine whose file names `device` as its driver does; None where none does. Raises as `machine_of`."""
    return next((found for found, names in map(_read, _files(root)) if is_one(device, names)), None)


def _files(root: Path) -> list[Path]:
    return sorted((root / "conf" / "hardware").glob("*.yaml"))


def _read(file: Path) -> tuple[Hardware, list[str]]:
    """What it is, and the devices that it is the machine of."""
    try:
        values = dict(yaml.safe_load(file.read_text(encoding="utf-8")))
        names = values.pop("devices", [])
        if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError(f"devices must be a list of names, not {names!r}")
        return Hardware.from_dict(values), names
    except (ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise GridError(f"{file}: {error}") from error
