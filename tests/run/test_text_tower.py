"""Prompts as a tokenizer cuts them; the text tower of a cell; a cell whose method reads the question, and its trace."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grid.project import Project
from prunegrid.mini.language import IMAGE, TEMPLATE, tokenizer, words
from prunegrid.reduce import Reducer
from prunegrid.reduce.methods.ivtp import IVTP
from prunegrid.run.errors import BuildError
from prunegrid.run.files import Files
from prunegrid.run.predict import predict
from prunegrid.run.text import prompt_texts
from prunegrid.run.tower import text_tower

from . import lab

LONGER = "Be brief. USER: <image>\n{question}\nSay it. ASSISTANT:"


@pytest.mark.parametrize("template", [TEMPLATE, LONGER])
def test_each_text_token_has_its_characters(template: str) -> None:
    fast, questions = tokenizer(), ["What color is the {square}?", "Where", ""]
    for prompt, question in zip(prompt_texts(fast, template, questions), questions, strict=True):
        text = template.format(question=question)
        ids = [i for i in fast(text)["input_ids"] if i != words().index(IMAGE)]
        assert len(prompt.spans) == len(ids)
        assert prompt.spans[0] == (0, 0), "begin of sequence"
        assert prompt.text == text.replace(IMAGE, " " * 7) and prompt.question == question
        for (a, b), token in zip(prompt.spans[1:], ids[1:], strict=True):
            assert fast.decode([token]) == text[a:b] or token == fast.unk_token_id


def test_a_tokenizer_that_cannot_tell_gives_none() -> None:
    assert prompt_texts(SimpleNamespace(is_fast=False), TEMPLATE, ["What"]) == []


def cell_of(**model: Any) -> Any:
    values = {"name": "tiny", "data": "data/tiny", "clip": None} | model
    return SimpleNamespace(model=values, reducer={"name": "ivtp"})


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert text_tower(cell_of(), tmp_path, "cpu", Reducer()) is None, "nobody reads"
    with pytest.raises(BuildError, match=r"conf/model/tiny.yaml: reducer 'ivtp' reads .* as `clip:`"):
        text_tower(cell_of(), tmp_path, "cpu", IVTP())
    with pytest.raises(BuildError, match="holds no CLIP in safetensors; fetch it with `dvc pull data/tiny`"):
        text_tower(cell_of(clip="data/clip"), tmp_path, "cpu", IVTP())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"")
    (tmp_path / "broken" / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(BuildError, match="cannot be loaded"):
        text_tower(cell_of(clip="broken"), tmp_path, "cpu", IVTP())
    lab.save(tmp_path / "llava")
    with pytest.raises(BuildError, match="llava is no whole CLIP: it lacks"):
        text_tower(cell_of(clip="llava"), tmp_path, "cpu", IVTP())


def test_a_cell_that_reads_the_question(project: Project) -> None:
    """Key words stand in the trace, and a tower of other weights asks for other tokens."""
    lab.join_clip(project)
    asked = {"ivtp": {"keep": 4, "group": 2, "layers": 2, "tau": -0.05}}
    reads, prunes = lab.cells(lab.study(project, asked, {"cdpruner": {"keep": 4}}))
    for cell in (reads, prunes):
        predict(cell, project.results, project.root, "code", "cpu")
    rows = [json.loads(x) for x in Files.of(project.results, reads).trace.read_text("utf-8").splitlines()]
    questions = {
        json.loads(x)["id"]: json.loads(x)
        for x in (project.root / lab.SCENES / "vqa.jsonl").open(encoding="utf-8")
    }
    assert all(row["visual"][-1] == 4 and 0 <= row["notes"]["text_share"] <= 1 for row in rows)
    assert any(row["words"] for row in rows)
    for row in rows:
        assert set(row["words"]) <= set(_pieces(questions[row["id"]]["question"]))
    pruned = Files.of(project.results, prunes).trace.read_text("utf-8").splitlines()
    assert all(len(json.loads(x)["kept"]["embeds"]) == 4 for x in pruned)


def _pieces(question: str) -> list[str]:
    spans = tokenizer()(question, return_offsets_mapping=True)["offset_mapping"]
    return [question[a:b].strip() for a, b in spans]
