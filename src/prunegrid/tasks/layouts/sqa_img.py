"""ScienceQA: LLaVA's answers, or what its scorer wrote about them, beside its question file or the benchmark's.

Sources: llava/eval/eval_science_qa.py and model_vqa_science.py at c121f043; llava_test_CQM-A.json of LLaVA's
evaluation files; problems.json and pid_splits.json of ScienceQA 2cbf831.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.choices import LETTERS
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.layouts.answered import Answered, join
from prunegrid.tasks.layouts.files import expand, field, ident, mapping, once, read_json, text_of, texts
from prunegrid.tasks.scienceqa import ScienceQa

TASK = ScienceQa(file="sqa.jsonl", prompt="{question}")


def read(answers: Sequence[Path], annotations: Sequence[Path]) -> Answered:
    """Answers: <model>.jsonl, or the scorer's <model>_output.jsonl ("pred") or <model>_result.json ("outputs").

    Annotations: llava_test_CQM-A.json; or problems.json with pid_splits.json (its test split).
    """
    said = once((pair for path in answers for pair in _said(path).items()), "answers")
    asked: dict[str, Record] = {}
    problems: dict[str, Any] = {}
    split: list[str] | None = None
    for path in expand(annotations, (".json",)):
        content = read_json(path)
        if isinstance(content, list):
            asked.update((r.id, r) for r in (_conversation(mapping(row, str(path))) for row in content))
        elif isinstance(content, dict) and isinstance(content.get("test"), list):
            split = [str(name) for name in content["test"]]
        else:
            problems = mapping(content, str(path))
    if asked:
        return join(TASK, asked.values(), said)
    if not problems:
        raise TaskError("no questions: pass llava_test_CQM-A.json, or problems.json and pid_splits.json")
    names = split or [name for name, row in problems.items() if row.get("split") == "test"]
    absent = [name for name in names if name not in problems]
    if absent:
        raise TaskError(
            f"{len(absent)} questions of the test split are not in problems.json (first: {absent[0]})"
        )
    return join(TASK, [_problem(name, problems[name]) for name in names], said)


def _said(path: Path) -> dict[str, str]:
    try:
        whole = read_json(path)
    except TaskError:
        return texts(path)  # one object per line
    if isinstance(whole, dict) and {"correct", "incorrect"} <= set(whole):
        rows = [mapping(row, str(path)) for kind in ("correct", "incorrect") for row in whole[kind] or []]
        pairs = [
            (ident(row, ("question_id",), str(path)), text_of(row, ("pred",), str(path))) for row in rows
        ]
        return once(pairs, str(path))
    if isinstance(whole, dict) and isinstance(whole.get("outputs"), dict):
        return {
            str(name): text_of({"text": text}, ("text",), str(path))
            for name, text in whole["outputs"].items()
        }
    return texts(path)


def _conversation(row: Mapping[str, Any]) -> Record:
    name = ident(row, ("id", "question_id"), "question")
    where = f"question {name}"
    turns = [mapping(turn, where) for turn in field(row, ("conversations",), where)]
    said = [text_of(turn, ("value",), where).strip() for turn in turns]
    if len(said) != 2 or not said[1][:1] or said[1][0] not in LETTERS:
        raise TaskError(f"{where}: a question and a letter are needed, not {said[1:]!r}")
    image = str(row.get("image") or "") or ("<image>" if "<image>" in said[0] else None)
    return Record(name, name, "", LETTERS.index(said[1][0]), {"image": image})


def _problem(name: str, row: Mapping[str, Any]) -> Record:
    answer = field(row, ("answer",), f"problem {name}")
    if not isinstance(answer, int) or not 0 <= answer < len(row.get("choices", LETTERS)):
        raise TaskError(f"problem {name}: answer {answer!r} is no index of its choices")
    return Record(name, name, "", answer, {"image": row.get("image") or None})
