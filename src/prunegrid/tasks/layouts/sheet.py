"""Tables: .xlsx (the first sheet), .tsv and .csv, as rows of text. Standard library only.

Source of the format: ECMA-376 part 1, sections 18.3 (worksheets) and 18.4 (shared strings).
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.files import read_text

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_REL = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_FIELD = 1 << 30  # MMBench's .tsv holds whole pictures in one field
_LARGEST = 1 << 28  # bytes of one part of a workbook


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows by column name, in file order; an empty cell is left out of its row. TaskError if there are none."""
    if not path.is_file():
        raise TaskError(f"{path}: no such file")
    lines = _workbook(path) if path.suffix == ".xlsx" else _delimited(path)
    head = next(lines, None)
    if not head:
        raise TaskError(f"{path}: no header line")
    rows = [{head[k]: text for k, text in line.items() if k in head and text != ""} for line in lines]
    rows = [row for row in rows if row]
    if not rows:
        raise TaskError(f"{path}: no rows below the header ({', '.join(head.values())})")
    return rows


def _delimited(path: Path) -> Iterator[dict[int, str]]:
    text = read_text(path)
    first = text.partition("\n")[0]
    tabs = path.suffix == ".tsv" or "\t" in first
    before = csv.field_size_limit(_FIELD)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ",", strict=True)
        width = None
        for number, line in enumerate(reader, start=1):
            width = width or len(line)
            if line and len(line) != width:
                raise TaskError(
                    f"{path} row {number}: {len(line)} of {width} columns; the file seems to be cut"
                )
            yield dict(enumerate(line))
    except csv.Error as error:
        raise TaskError(f"{path}: not a table ({error}); the file seems to be cut") from error
    finally:
        csv.field_size_limit(before)


def _workbook(path: Path) -> Iterator[dict[int, str]]:
    try:
        with zipfile.ZipFile(path) as book:
            shared = _shared(book)
            sheet = _part(book, _first_sheet(book))
    except (zipfile.BadZipFile, ElementTree.ParseError, KeyError, OSError, ValueError) as error:
        raise TaskError(f"{path}: not a readable .xlsx ({error}); was it cut?") from error
    for row in sheet.iter(f"{_MAIN}row"):
        cells = {}
        for place, cell in enumerate(row.iter(f"{_MAIN}c")):
            text = _cell(cell, shared)
            if text is not None:
                cells[_column(cell.get("r"), place)] = text
        yield cells


def _part(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if book.getinfo(name).file_size > _LARGEST:
        raise ValueError(f"{name} is larger than {_LARGEST} bytes")
    raw = book.read(name)
    if b"<!DOCTYPE" in raw[:1024]:
        raise ValueError(f"{name} declares a document type")  # entities could blow up
    return ElementTree.fromstring(raw)


def _first_sheet(book: zipfile.ZipFile) -> str:
    """The path of the first sheet, through the workbook's relations."""
    sheet = _part(book, "xl/workbook.xml").find(f"{_MAIN}sheets/{_MAIN}sheet")
    if sheet is None:
        raise ValueError("no sheet")
    for relation in _part(book, "xl/_rels/workbook.xml.rels"):
        if relation.get("Id") == sheet.get(f"{_REL}id"):
            target = str(relation.get("Target"))
            return target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    raise ValueError("the first sheet is not in the file")


def _shared(book: zipfile.ZipFile) -> list[str]:
    if "xl/sharedStrings.xml" not in book.namelist():
        return []
    return [_runs(item) for item in _part(book, "xl/sharedStrings.xml").iter(f"{_MAIN}si")]


def _runs(item: ElementTree.Element) -> str:
    """Text of a string: plain, or in runs of different fonts (phonetic hints left out)."""
    parts = [*item.findall(f"{_MAIN}t"), *item.findall(f"{_MAIN}r/{_MAIN}t")]
    joined = "".join(part.text or "" for part in parts)
    # control characters are written as _x000D_
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda m: chr(int(m[1], 16)), joined)


def _cell(cell: ElementTree.Element, shared: list[str]) -> str | None:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        inline = cell.find(f"{_MAIN}is")
        return None if inline is None else _runs(inline)
    value = cell.findtext(f"{_MAIN}v")
    if value is None:
        return None
    if kind == "s":
        return shared[int(value)]
    if kind == "n" and re.fullmatch(r"-?\d+\.0+", value):
        return value.partition(".")[0]  # an id that passed through a float
    return value


def _column(reference: str | None, place: int) -> int:
    """Column number of a cell "BC12"; its place in the row where the file names none."""
    letters = re.match(r"[A-Z]+", reference or "")
    if letters is None:
        return place
    number = 0
    for letter in letters[0]:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number - 1
