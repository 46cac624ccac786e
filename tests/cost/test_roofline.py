"""Time from counts: by hand, on every machine of conf/hardware, and LLM-Viewer's reference figures."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from prunegrid.cost import Bits, Hardware, Operator, TokenSchedule, cost
from prunegrid.cost.tables.viewer import machine, prefill
from prunegrid.shape import llava15_7b

from .small import SMALL

MACHINES = sorted((Path(__file__).parents[2] / "conf" / "hardware").glob("*.yaml"))
TOY = Hardware("toy", bandwidth=10.0, memory=1e3, peak={"fp16": 100.0, "int8": 200.0})

# LLM-Viewer at 472f71f, Vicuna-7B, FP16, batch 1: tokens -> operations T, ms on V100, A100, H100, GB moved,
# GB written
REFERENCE = {
    70: (0.910, 15.4, 8.93, 4.52, 13.88, 0.284),
    104: (1.353, 15.8, 9.15, 4.63, 14.23, 0.436),
    187: (2.441, 23.1, 9.76, 4.94, 15.17, 0.848),
    204: (2.665, 25.2, 9.89, 5.01, 15.38, 0.939),
    616: (8.181, 77.7, 29.30, 9.95, 21.82, 3.876),
    636: (8.453, 80.3, 30.31, 10.30, 22.21, 4.054),
    1088: (14.72, 141.6, 54.32, 18.88, 32.63, 8.949),
}


def figures(path: Path) -> dict[str, Any]:
    """What a roofline needs of a file: all but the names of its devices."""
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    assert isinstance(values.pop("devices"), list)
    return values


def test_an_operator_takes_the_longer_of_arithmetic_and_traffic() -> None:
    heavy = Operator("prefill", "q", flops=500, weights=10, load=5, store=3, load_kv=1, store_kv=1)
    light = Operator("prefill", "k", flops=100, weights=10, load=5, store=3, load_kv=1, store_kv=1)
    assert (heavy.moved, light.moved) == (20, 20)
    assert (TOY.seconds(heavy, Bits()), TOY.bound(heavy, Bits())) == (5.0, "compute")
    assert (TOY.seconds(light, Bits()), TOY.bound(light, Bits())) == (2.0, "memory")
    assert TOY.seconds(heavy, Bits.of(4)) == 2.5, "INT4 runs on the INT8 units"
    assert TOY.seconds(heavy, Bits(4, 16, 16)) == 5.0, "weights alone do not make it INT8"
    with pytest.raises(ValueError, match="no rate for fp32"):
        TOY.seconds(heavy, Bits.of(32))


def test_totals_multiply_by_executions_and_add_up_over_stages() -> None:
    schedule = TokenSchedule.stated(SMALL, 5, new_tokens=3)
    result = cost(SMALL, schedule, TOY, 16, "exact", reducer_flops=1000.0)
    assert result.total("flops", "prefill") == sum(op.flops * op.times for op in result.of("prefill"))
    stages = ("vision", "reducer", "projector", "prefill", "decode")
    assert result.seconds() == pytest.approx(sum(result.seconds(stage) for stage in stages))
    assert result.total("flops", "reducer") == 1000 and result.seconds("reducer") == 10
    assert result.kv_bytes == 2 * 2 * 7 * 2 * 2, "keys and values, 2 layers, 7 tokens, 1 head of 2, 2 bytes"
    read = result.as_dict()
    assert read["stages"]["prefill"]["operators"]["gate"]["flops"] == 2 * 2 * 6 * 10 * 5, "both layers"
    assert read["total"]["seconds"] == pytest.approx(result.seconds())
    assert sum(stage["moved"] for stage in read["stages"].values()) == pytest.approx(result.total("moved"))
    with pytest.raises(ValueError, match="unknown stage"):
        result.total("flops", "prefil")


@pytest.mark.parametrize("path", MACHINES, ids=lambda path: path.stem)
def test_every_machine_of_conf_reads_and_times_a_prefill(path: Path) -> None:
    values = figures(path)
    hardware = Hardware.from_dict(values)
    assert hardware.name == path.stem
    seconds = [
        cost(llava15_7b(), TokenSchedule.stated(llava15_7b(), n), hardware).seconds() for n in (64, 636)
    ]
    assert 0 < seconds[0] < seconds[1]
    assert "#" in path.read_text().splitlines()[0], "the source of the figures"
    with pytest.raises(ValueError, match="exactly"):
        Hardware.from_dict({**values, "tflops": 1})
    with pytest.raises(ValueError, match="positive"):
        Hardware.from_dict({**values, "bandwidth": 0})


def test_the_machines_are_llm_viewers_but_for_the_h100s_memory() -> None:
    nvidia = ["a100_40g", "a100_80g", "a100_80g_pcie", "h100", "h100_pcie", "h200", "v100", "v100_sxm2"]
    assert [path.stem for path in MACHINES if path.stem != "cpu"] == nvidia
    ours = {path.stem: Hardware.from_dict(figures(path)) for path in MACHINES}
    pairs = {
        "v100": "V100",
        "a100_40g": "A100",
        "a100_80g": "A100-80G",
        "h100": "H100",
        "h100_pcie": "H100-PCIe",
    }
    sheet = {"h100": 3.35e12, "h100_pcie": 2e12}
    for name, viewer in pairs.items():
        assert all(ours[name].peak[kind] == machine(viewer).peak[kind] for kind in ("fp16", "int8"))
        same = ours[name].bandwidth == machine(viewer).bandwidth
        assert same or ours[name].bandwidth == sheet[name]


@pytest.mark.parametrize("tokens", REFERENCE)
def test_llm_viewers_reference_figures(tokens: int) -> None:
    """Each to the printed digit."""
    operations, *milliseconds, moved, stored = REFERENCE[tokens]
    found = prefill(llava15_7b(), tokens, "V100", 16)
    assert found.flops == pytest.approx(operations, abs=0.005 if operations > 10 else 0.0005)
    assert found.moved == pytest.approx(moved, abs=0.0051) and found.stored == pytest.approx(
        stored, abs=0.0005
    )
    digits = (0.05, 0.0051, 0.0051)
    for name, expected, digit in zip(("V100", "A100", "H100"), milliseconds, digits, strict=True):
        assert prefill(llava15_7b(), tokens, name, 16).milliseconds == pytest.approx(expected, abs=digit)
