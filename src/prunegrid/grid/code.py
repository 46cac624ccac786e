"""Code identity: a hash over the syntax of a module and of all it imports inside the package.

Comments, docstrings and layout do not count. Nothing is imported: sources are parsed. "Inside the package" means
prunegrid and the packages of their own methods and tasks that users list in $PRUNEGRID_PACKAGES.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from prunegrid.grid import plain
from prunegrid.grid.asking import asking
from prunegrid.grid.errors import GridError

PACKAGE = "prunegrid"
TASKS = "prunegrid.tasks."
ALLOWED = "PRUNEGRID_PACKAGES"  # comma-separated
SOURCE = Path(__file__).resolve().parents[2]


def code_hash(modules: Iterable[str], source: Path = SOURCE, judging: bool = True) -> str:
    """12 hex digits over the closure of `modules` (dotted names). Without `judging`, of tasks only what asks."""
    whole: set[str] = set()
    for module in modules:
        whole |= _closure(module, source, judging)
    text = "\n".join(f"{name} {_syntax(name, source, judging)}" for name in sorted(whole))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def accepted(root: Path, code: str) -> str:
    """The hash that `prunegrid accept` declared equal to this one, or the hash itself."""
    file = root / "conf" / "accepted.yaml"
    known = plain.read(file, "conf/accepted.yaml") if file.exists() else None
    if not isinstance(known, Mapping | None):
        raise GridError("conf/accepted.yaml must hold a mapping of code hashes, new: old")
    return str((known or {}).get(code, code))


def packages() -> tuple[str, ...]:
    """The packages whose code may run: this one and those that the user lists."""
    return (PACKAGE, *filter(None, os.environ.get(ALLOWED, "").split(",")))


def check_target(target: object, where: str, source: Path = SOURCE) -> None:
    """Raise GridError unless `target` names a class in a module of an allowed package."""
    module, _, name = str(target).rpartition(".")
    _check_package(module, f"{where}: _target_ {target!r}")
    file = _file(module, source)
    body = ast.parse(file.read_text(encoding="utf-8")).body if file.exists() else []
    classes = [node.name for node in body if isinstance(node, ast.ClassDef)]
    if name not in classes:
        there = f"has {', '.join(classes) or 'no class'}" if file.exists() else "is no file"
        raise GridError(f"{where}: _target_ {target!r} does not exist: {file} {there}")


def check_module(module: object, where: str, source: Path = SOURCE) -> None:
    """Raise GridError unless `module` is one of an allowed package: of no other would a change be noticed."""
    _check_package(str(module), f"{where}: module {module!r}")
    if not _exists(str(module), source):
        raise GridError(f"{where}: module {module!r} does not exist: {_file(str(module), source)} is no file")


def _check_package(module: str, what: str) -> None:
    if module.split(".")[0] not in packages():
        raise GridError(
            f"{what} is outside {', '.join(packages())}; list its package in ${ALLOWED} to allow it"
        )


def module_of(target: str) -> str:
    """The module of a dotted `_target_`."""
    return target.rpartition(".")[0]


@cache
def constant(target: str, name: str, source: Path = SOURCE) -> str | None:
    """The value of a string class attribute of `_target_`, read from its source; None if it is not there."""
    tree = ast.parse(_file(module_of(target), source).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == target.rpartition(".")[2]:
            for line in node.body:
                names = [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
                if any(isinstance(n, ast.Name) and n.id == name for n in names):
                    value = getattr(line, "value", None)
                    if isinstance(value, ast.Constant):
                        return str(value.value)
    return None


@cache
def _closure(module: str, source: Path, judging: bool) -> frozenset[str]:
    seen: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in seen or not _exists(name, source):
            continue
        seen.add(name)
        todo += _imports(name, source, judging)
    return frozenset(seen)


@cache
def _imports(module: str, source: Path, judging: bool) -> tuple[str, ...]:
    package = module if _file(module, source).name == "__init__.py" else module_of(module)
    named = _named(_tree(module, source, judging), package)
    return tuple(name for name in named if name.split(".")[0] in packages())


def _named(tree: ast.AST, package: str) -> Iterator[str]:
    """What a module of `package` imports: modules, and names taken from them, which may be modules too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{a.name}" for a in node.names)


@cache
def _syntax(module: str, source: Path, judging: bool) -> str:
    tree = _tree(module, source, judging)
    for node in ast.walk(tree):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and ast.get_docstring(node, clean=False):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _tree(module: str, source: Path, judging: bool) -> ast.Module:
    tree = ast.parse(_file(module, source).read_text(encoding="utf-8"))
    return tree if judging or not module.startswith(TASKS) else asking(tree)


def _exists(module: str, source: Path) -> bool:
    return _file(module, source).exists()


def _file(module: str, source: Path) -> Path:
    path = _home(module.split(".")[0], source).joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _home(package: str, source: Path) -> Path:
    """The folder that a top-level package lies in; a package of the user's is found, not imported."""
    spec = None if package == PACKAGE else importlib.util.find_spec(package)
    if spec is None:
        return source
    places = [*(spec.submodule_search_locations or ())]
    return Path(places[0]).parent if places else Path(spec.origin or source).parent
