"""Files as LLaVA's repository and the benchmarks lay them out, made small."""

import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def dump(path: Path, value: Any, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, **how), encoding="utf-8")
    return path


def answer(question_id: Any, prompt: str, text: Any) -> dict[str, Any]:
    """A line of model_vqa_loader.py's output."""
    extra = {"answer_id": "x", "model_id": "llava-v1.5-13b", "metadata": {}}
    return {"question_id": question_id, "prompt": prompt, "text": text, **extra}


def pope(
    folder: Path, said: dict[str, Sequence[str]], labels: dict[str, Sequence[str]]
) -> tuple[Path, list[Path]]:
    """(answers, [random, popular, adversarial, question file]); question i of a split is of image i // 2."""
    files, listed, answers = [], [], []
    for number, split in enumerate(("adversarial", "random", "popular")):
        rows = []
        for i, label in enumerate(labels[split], start=1):
            text = f"Is there a {split} thing {i} in the {'imange' if i == 2 else 'image'}?"
            image = f"COCO_val2014_{(i - 1) // 2:012d}.jpg"
            rows.append({"question_id": i, "image": image, "text": text, "label": label})
            name, prompt = number * 10_000_000 + i, f"{text}\n{SHORT}"
            listed.append({"question_id": name, "image": image, "text": prompt, "category": split})
            if i <= len(said[split]):
                answers.append(answer(name, prompt, said[split][i - 1]))
        files.append(jsonl(folder / "coco" / f"coco_pope_{split}.json", rows))
    files.append(jsonl(folder / "llava_pope_test.jsonl", listed))
    return jsonl(folder / "answers" / "llava-v1.5-13b.jsonl", answers), files


def mme(folder: Path, said: dict[str, Sequence[str]]) -> dict[str, Path]:
    """Answers, question file, the tool's two folders and the release; `said`: answers of each sub-task's pairs."""
    answers, listed = [], []
    for subtask, texts in said.items():
        below = "images/" if subtask in ("posters", "artwork") else ""
        template, results = [], []
        for i, text in enumerate(texts):
            stem, label = f"{i // 2:04d}", ("Yes", "No")[i % 2]
            asked = f'Is {subtask} {i} "so"?'
            name = f"{subtask}/{below}{stem}.jpg"
            answers.append(answer(name, f"{asked}\n{SHORT}", text))
            listed.append(
                {"question_id": name, "image": name, "text": f"{asked}\n{SHORT}", "category": subtask}
            )
            gap = "  " if i == 1 else " "  # some questions have two spaces before the ending
            template.append(f"{stem}.jpg\t{asked}{gap}Please answer yes or no.\t{label}")
            results.append(f"{stem}.txt\t{asked}{gap}Please answer yes or no.\t{label}\t{text}")
            release = folder / "release" / subtask / ("questions_answers_YN" if below else "") / f"{stem}.txt"
            release.parent.mkdir(parents=True, exist_ok=True)
            with release.open("a", encoding="utf-8") as file:
                file.write(f"{asked} Please answer yes or no.\t{label}\n")
        for kind, lines in (("Your_Results", template), ("answers", results)):
            tool = folder / "eval_tool" / kind / f"{subtask}.txt"
            tool.parent.mkdir(parents=True, exist_ok=True)
            tool.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        "answers": jsonl(folder / "answers.jsonl", answers),
        "questions": jsonl(folder / "llava_mme.jsonl", listed),
        "template": folder / "eval_tool" / "Your_Results",
        "results": folder / "eval_tool" / "answers",
        "release": folder / "release",
    }


def workbook(path: Path, rows: Sequence[Sequence[Any]], *, shared: bool = True) -> Path:
    """An .xlsx as openpyxl writes it (shared strings) or as others do (inline strings). None: an empty cell."""
    words: list[str] = []

    def cell(row: int, column: int, value: Any) -> str:
        place = f'r="{chr(ord("A") + column)}{row}"'
        if value is None:
            return ""
        if isinstance(value, int | float):
            return f'<c {place} t="n"><v>{value}</v></c>'
        if not shared:
            return f'<c {place} t="inlineStr"><is><t>{escape(value)}</t></is></c>'
        words.append(value)
        return f'<c {place} t="s"><v>{len(words) - 1}</v></c>'

    lines = [
        f'<row r="{r}">{"".join(cell(r, c, value) for c, value in enumerate(line))}</row>'
        for r, line in enumerate(rows, start=1)
    ]
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    rel = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{rel}"><sheets>'
        '<sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
        'relationships"><Relationship Id="rId1" Type="x" Target="/xl/worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{"".join(lines)}</sheetData></worksheet>',
        "xl/sharedStrings.xml": f'<sst xmlns="{main}">'
        + "".join(f'<si><t xml:space="preserve">{escape(word)}</t></si>' for word in words)
        + "</sst>",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as book:
        for name, text in parts.items():
            book.writestr(name, text)
    return path
