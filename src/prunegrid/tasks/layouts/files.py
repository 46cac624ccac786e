"""Reading files that others wrote: any Unicode encoding, nothing half-read, every fault named with its place."""

import codecs
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from prunegrid.tasks.errors import TaskError

# UTF-32 first: its little-endian mark begins with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_LISTS = ("annotations", "questions", "data")  # how benchmarks name the one list in their files


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, or of UTF-16/32 with a byte order mark. TaskError for anything else."""
    if not path.is_file():
        raise TaskError(f"{path}: no such file")
    raw = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not {encoding} at byte {error.start}; save it as UTF-8") from error


def read_json(path: Path) -> Any:
    """A whole JSON file. TaskError if it is cut, no JSON, or holds NaN."""
    return parse(read_text(path), str(path))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """One object per line; empty lines are skipped. TaskError names a line that is cut or no object."""
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            rows.append(mapping(parse(line, f"{path} line {number}"), f"{path} line {number}"))
    if not rows:
        raise TaskError(f"{path}: no rows")
    return rows


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Objects of a jsonl file, of a JSON list, or of the list in a JSON object, whatever the file is called."""
    text = read_text(path).strip()
    if not text.startswith(("[", "{")):
        return read_jsonl(path)
    if text.startswith("{"):
        try:
            whole, end = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError:
            return read_jsonl(path)  # names the line
        lists = [whole[key] for key in _LISTS if isinstance(whole.get(key), list)]
        if end < len(text) or not lists:
            return read_jsonl(path) if "\n" not in text[:end] else [whole]
    rows = parse(text, str(path))
    rows = rows if isinstance(rows, list) else next(rows[key] for key in _LISTS if key in rows)
    if not rows:
        raise TaskError(f"{path}: no rows")
    return [mapping(row, f"{path} item {number}") for number, row in enumerate(rows, start=1)]


def parse(text: str, where: str) -> Any:
    """JSON without NaN and Infinity, which are no answers; TaskError with the place."""
    try:
        return json.loads(text, parse_constant=lambda name: _refuse(name, where))
    except json.JSONDecodeError as error:
        end = error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
        cut = "; the file seems to be cut" if end else ""
        raise TaskError(f"{where}: not JSON ({error}){cut}; starts with {text[:60]!r}") from error


def _refuse(name: str, where: str) -> NoReturn:
    raise TaskError(f"{where}: {name} is no value; a failed answer must be left out, not scored")


def mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TaskError(f"{where}: an object is needed, not {type(value).__name__}")
    return value


def field(row: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    """The value of the first of `names` that the row has; TaskError lists what there is."""
    for name in names:
        if name in row:
            return row[name]
    raise TaskError(
        f"{where}: {' or '.join(names)} is missing; there are {', '.join(map(str, row)) or 'none'}"
    )


def text_of(row: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    """A text field. A missing value (null, NaN) is a failure, never an empty answer."""
    value = field(row, names, where)
    if not isinstance(value, str):
        missing = value is None or (isinstance(value, float) and math.isnan(value))
        kind = "no answer" if missing else f"{value!r}"
        raise TaskError(f"{where}: {names[0]} must be text, not {kind}")
    return value


def ident(row: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    """An id as text: 17 and "17" are the same question."""
    value = field(row, names, where)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise TaskError(f"{where}: {names[0]} {value!r} is no id")
    return str(value)


def once(pairs: Iterable[tuple[str, Any]], where: str) -> dict[str, Any]:
    """A dictionary of (id, value); TaskError if an id comes twice."""
    found: dict[str, Any] = {}
    twice = []
    for name, value in pairs:
        if name in found:
            twice.append(name)
        found[name] = value
    if twice:
        raise TaskError(
            f"{where}: {len(twice)} ids come twice (first: {', '.join(twice[:3])}); answer each once"
        )
    return found


def texts(
    path: Path, ids: Sequence[str] = ("question_id",), said: Sequence[str] = ("text",)
) -> dict[str, str]:
    """id -> raw text of an answers file of LLaVA's scripts (jsonl, or a JSON list of the same objects)."""
    rows = enumerate(read_rows(path), start=1)
    places = [(f"{path} row {number}", row) for number, row in rows]
    return once(((ident(row, ids, where), text_of(row, said, where)) for where, row in places), str(path))


def expand(paths: Iterable[Path], suffixes: Sequence[str]) -> Iterator[Path]:
    """Files as they are, folders as the files with one of `suffixes` in them, sorted."""
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in suffixes)
            if not inside:
                raise TaskError(f"{path}: no {' or '.join(suffixes)} file in this folder")
            yield from inside
        elif path.is_file():
            yield path
        else:
            raise TaskError(f"{path}: no such file")
