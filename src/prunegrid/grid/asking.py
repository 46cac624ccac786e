"""The part of a task module that asks: what is left when all that only judges answers is taken away.

A prediction depends on which questions are asked and how, not on how answers are judged: a mended parser must not
cost a GPU hour. What is left: the classes without their scoring methods, and what they still name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

# Of prunegrid.tasks.base.Task: what is called, or read, only once the answers are there.
SCORING = frozenset(
    {
        "judge",
        "verdict",
        "counts",
        "tally",
        "metric",
        "measures",
        "score",
        "scale",
        "version",
        "primary",
        "unit",
    }
)


def asking(tree: ast.Module) -> ast.Module:
    """`tree` without what only scoring uses; whole if it defines no class. The argument is not changed."""
    if not any(isinstance(node, ast.ClassDef) for node in tree.body):
        return tree
    parts = [part for node in tree.body for part in _parts(node)]
    kept: set[int] = {k for k, (names, _) in enumerate(parts) if names is None}
    while True:
        used = {name for k in kept for name in _used(parts[k][1])}
        more = {k for k, (names, _) in enumerate(parts) if names and names & used} - kept
        if not more:
            return ast.Module([_without_unused(parts[k][1], used) for k in sorted(kept)], [])
        kept |= more


def _parts(node: ast.stmt) -> Iterator[tuple[set[str] | None, ast.stmt]]:
    """(names that it binds, statement); None: kept whatever is used. An import falls into its names."""
    if isinstance(node, ast.ClassDef):
        yield (
            None,
            ast.ClassDef(**{**_fields(node), "body": [n for n in node.body if not _bound(n) & SCORING]}),
        )
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            name = (alias.asname or alias.name).split(".")[0]
            yield {name}, type(node)(**{**_fields(node), "names": [alias]})
    else:
        yield _bound(node) or None, node


def _without_unused(node: ast.stmt, used: set[str]) -> ast.stmt:
    """A class without private methods that nothing names any more."""
    if not isinstance(node, ast.ClassDef):
        return node
    return ast.ClassDef(**{**_fields(node), "body": list(_living(node, used)) or [ast.Pass()]})


def _living(node: ast.ClassDef, used: set[str]) -> Iterator[ast.stmt]:
    for n in node.body:
        private = {name for name in _bound(n) if name.startswith("_") and not name.endswith("__")}
        if not private or private & used:
            yield n


def _fields(node: ast.AST) -> dict[str, Any]:
    return dict(ast.iter_fields(node))


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    return {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}


def _used(node: ast.stmt) -> Iterator[str]:
    """Every name that a statement says; a private method speaks only if it is itself named, which is left aside:
    what it alone uses is kept rather than lost."""
    for n in ast.walk(node):
        if isinstance(n, ast.Name):
            yield n.id
        elif isinstance(n, ast.Attribute):
            yield n.attr
