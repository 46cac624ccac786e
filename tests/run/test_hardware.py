"""A device is known by its whole name, so that no card has another one's rates."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from grid.project import ROOT
from prunegrid.cost.devices import is_one
from prunegrid.grid.errors import GridError
from prunegrid.run.hardware import machine_of, of_device

HARDWARE = Path(ROOT) / "conf" / "hardware"


@pytest.mark.parametrize(
    ("device", "found"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100_pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100_80g"),
        ("A100-SXM4-80GB", "a100_80g"),  # an older driver
        ("NVIDIA A100 80GB PCIe", "a100_80g_pcie"),
        ("NVIDIA A100-SXM4-40GB", "a100_40g"),
        ("NVIDIA A100-PCIE-40GB", "a100_40g"),
        ("Tesla V100-SXM2-32GB", "v100_sxm2"),
        ("Tesla V100-PCIE-16GB", "v100"),
    ],
)
def test_a_device_is_known_by_its_own_name(device: str, found: str) -> None:
    hardware = of_device(Path(ROOT), device)
    assert hardware and hardware.name == found


@pytest.mark.parametrize(
    "device",
    [
        "NVIDIA H100 NVL",  # 3.9e12 bytes/s
        "NVIDIA H200 NVL",  # fewer operations than the SXM
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",  # a seventh of one
        "NVIDIA GH200 480GB",
        "Tesla V100S-PCIE-32GB",
        "NVIDIA L40S",
        "NVIDIA L40",
        "NVIDIA GeForce RTX 4090",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100",
        "AMD EPYC",
        "cpu",
        "",
    ],
)
def test_others_get_nobodys_rates(device: str) -> None:
    assert of_device(Path(ROOT), device) is None


def test_an_h100_pcie_is_not_an_sxm() -> None:
    sxm, pcie = (machine_of(Path(ROOT), name) for name in ("h100", "h100_pcie"))
    assert (pcie.bandwidth, pcie.memory, pcie.peak["bf16"]) == (2.0e12, 80e9, 756.5e12)
    assert sxm.bandwidth > 1.6 * pcie.bandwidth


def test_no_two_files_name_the_same_device() -> None:
    """And every name finds the file that it stands in."""
    named = {
        f.stem: yaml.safe_load(f.read_text(encoding="utf-8"))["devices"] for f in HARDWARE.glob("*.yaml")
    }
    for file, devices in named.items():
        for device in devices:
            assert [other for other, names in named.items() if is_one(device, names)] == [file]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("devices: NVIDIA H100", "devices must be a list of names, not 'NVIDIA H100'"),
        ("devices: [5]", "devices must be a list of names, not .5."),
        ("speed: 1", "needs exactly"),
        ("bandwidth: .nan", "bandwidth must be a positive number, not nan"),
        ("bandwidth: .inf", "bandwidth must be a positive number, not inf"),
        ("memory: true", "memory must be a positive number, not True"),
        ("peak: {fp32: 1e12, bf16: -1}", "bf16 must be a positive number, not -1"),
        ("peak: {fp16: 1e12}", "peak needs fp32"),
        ("peak: {fp32: 1e12, int8: 1e12}", "and fp16 or bf16"),
        ("peak: {fp32: 1e12, fp61: 1e12, fp16: 1e12}", "fp61"),
        ("peak: [1", "while parsing"),
    ],
)
def test_a_file_that_is_no_hardware_is_named(line: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "conf" / "hardware").mkdir(parents=True)
    text = (HARDWARE / "h100.yaml").read_text(encoding="utf-8")
    gone = (line.split(":")[0] + ":", *(["  "] if line.startswith("peak: {") else []))
    kept = [each for each in text.splitlines() if not each.startswith(gone)]
    (tmp_path / "conf" / "hardware" / "mine.yaml").write_text("\n".join([*kept, line]), encoding="utf-8")
    with pytest.raises(GridError, match=f"mine.yaml: .*{error}"):
        of_device(tmp_path, "NVIDIA H100")
