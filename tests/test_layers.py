"""Imports go one way, and stay light where every job pays for them. Sources are parsed, nothing is imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
PLUGIN = "snakemake_executor_plugin_submitit"
LINES = 250

# layer -> what it may import beside the standard library and itself
ALLOWED = {
    "prunegrid.shape": set(),
    "prunegrid.warm": set(),
    "prunegrid.reduce": {"torch", "transformers", "prunegrid.shape"},
    "prunegrid.tasks": {"PIL", "numpy"},
    "prunegrid.stats": {"numpy"},
    "prunegrid.cost": {"prunegrid.shape"},
    "prunegrid.grid": {"yaml", "hydra", "omegaconf"},
    "prunegrid.mini": {"torch", "transformers", "tokenizers", "numpy", "PIL", "tqdm"},
    "prunegrid.tune": {"torch", "transformers", "peft", "safetensors", "PIL", "tqdm"}
    | {"prunegrid.reduce", "prunegrid.shape"},
    "prunegrid.latency": {"torch", "prunegrid.reduce"},
    "prunegrid.checkpoints": {"torch", "transformers", "tokenizers", "safetensors", "numpy", "PIL"},
    "prunegrid.benchmarks": {"PIL", "pyarrow", "tqdm", "prunegrid.tasks"},
    "prunegrid.run": {"torch", "transformers", "huggingface_hub", "numpy", "PIL", "yaml", "tqdm"}
    | {f"prunegrid.{p}" for p in ("shape", "reduce", "tasks", "stats", "cost", "grid", "mini", "tune")}
    | {f"prunegrid.{p}" for p in ("checkpoints", "benchmarks", "latency", "warm")},
    # Readers of result files. What is tracked are the report's tables and figures, so track stands on report.
    # A study's page shows its cost table, which is computed from no result.
    "prunegrid.report": {"numpy", "pandas", "matplotlib", "PIL", "yaml"}
    | {"prunegrid.stats", "prunegrid.grid", "prunegrid.cost"},
    "prunegrid.track": {"mlflow", "numpy", "yaml", "prunegrid.stats", "prunegrid.grid", "prunegrid.report"},
    "prunegrid.__main__": {"prunegrid.run"},
    PLUGIN: {"submitit", "psutil", "snakemake_interface_common", "snakemake_interface_executor_plugins"},
}


def layer(module: str) -> str:
    """a.b.c -> a.b inside prunegrid, the top package elsewhere."""
    parts = module.split(".")
    return ".".join(parts[: 2 if parts[0] == "prunegrid" else 1])


def name_of(file: Path) -> str:
    parts = list(file.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = str(node.module)
            yield from ([f"{module}.{a.name}" for a in node.names] if module == "prunegrid" else [module])


def strangers(module: str, text: str) -> set[str]:
    """Layers that a module imports and must not."""
    own = layer(module)
    seen = {layer(name) for name in imports(text)}
    return {s for s in seen if s not in sys.stdlib_module_names and s != own and s not in ALLOWED[own]}


FILES = {name_of(f): f for f in sorted(SOURCE.rglob("*.py")) if name_of(f) != "prunegrid"}


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    assert layer(module) in ALLOWED, f"{module} is a new layer: say above what it may import"
    assert strangers(module, FILES[module].read_text(encoding="utf-8")) == set()


def test_the_rules_see_a_forbidden_import_wherever_it_hides() -> None:
    late = "def f():\n    from prunegrid.run import build\n"
    assert strangers("prunegrid.reduce.ops", late) == {"prunegrid.run"}
    assert strangers("prunegrid.grid.plan", "import torch.nn as nn") == {"torch"}
    assert strangers("prunegrid.run.predict", "from prunegrid import track, grid") == {"prunegrid.track"}
    assert strangers(f"{PLUGIN}.executor", "import prunegrid.grid.cell") == {"prunegrid.grid"}


def test_nobody_imports_the_readers() -> None:
    """Tracking and reports can be thrown away and rebuilt: nothing stands on them."""
    for module, file in FILES.items():
        if layer(module) not in ("prunegrid.track", "prunegrid.report"):
            seen = {layer(name) for name in imports(file.read_text(encoding="utf-8"))}
            assert not seen & {"prunegrid.track", "prunegrid.report"}, module


def test_there_are_no_relative_imports_in_prunegrid() -> None:
    for module, file in FILES.items():
        if module.startswith("prunegrid."):
            nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            assert not [n for n in nodes if isinstance(n, ast.ImportFrom) and n.level], module


RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]


@pytest.mark.parametrize("file", RULES, ids=lambda f: f.name)
def test_snakefiles_import_only_the_grid(file: Path) -> None:
    """Every remote job parses them again."""
    named = re.findall(r"^\s*(?:from|import)\s+([\w.]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    seen = {layer(name) for name in named}
    assert {s for s in seen if s not in sys.stdlib_module_names} <= {"snakemake", "prunegrid.grid"}


@pytest.mark.parametrize("file", [*FILES.values(), *RULES], ids=lambda f: f.name)
def test_a_file_can_be_read_in_one_go(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("module", ["prunegrid.grid.plan", "prunegrid.run.main", PLUGIN])
def test_what_every_job_imports_is_light(module: str) -> None:
    heavy = ("torch", "transformers", "mlflow", "pandas", "matplotlib", "dvc", "sklearn")
    code = f"import sys, {module}; print(*[m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == []


def test_a_job_that_parses_the_workflow_does_without_hydra() -> None:
    """What rules import at the top; planning, which needs it, is for the main process alone."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in RULES)
    lines = [line for line in re.findall(r"^(?:from|import) .*$", text, re.MULTILINE) if "prunegrid" in line]
    code = "import sys\n" + "\n".join(lines) + "\nprint('hydra' in sys.modules, 'omegaconf' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert lines and run.stdout.split() == ["False", "False"]


def test_a_stage_starts_without_what_other_commands_need() -> None:
    """Every cell goes through four processes of its own."""
    code = "import sys; from prunegrid.run import main; main.parser(stages_alone=True)"
    code += "\nprint('hydra' in sys.modules, 'omegaconf' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.split() == ["False", "False"]
