"""Whether a machine of conf/hardware is the device at hand: by the device's whole name."""

from __future__ import annotations

from collections.abc import Iterable

_MAKERS = frozenset({"nvidia", "tesla", "geforce"})  # some drivers print them, older ones do not


def is_one(device: str, names: Iterable[str]) -> bool:
    """Whether `device` is one of `names`, both as drivers print them. Part of a name is not enough: an H100 PCIe, an
    H100 NVL and a MIG slice of an H100 have other rates than the H100."""
    return _words(device) in map(_words, names)


def unnamed(device: str) -> str:
    """What to tell where no hardware file is of `device`, so that nothing bounds its times."""
    return (
        f"no conf/hardware file names {device!r}: the roofline bound is left out; add one like conf/hardware/h100.yaml "
        "with this name under `devices`, then measure again"
    )


def _words(name: str) -> frozenset[str]:
    return frozenset(name.lower().replace("-", " ").split()) - _MAKERS
