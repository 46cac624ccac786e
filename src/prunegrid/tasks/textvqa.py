"""TextVQA: read what is written in the picture; m4c soft accuracy over ten answers.

LLaVA's prompts name the words that an OCR system found ("Reference OCR token: ..."), so a model that sees
nothing still scores: score with and without that line.
Source: llava/eval/eval_textvqa.py and m4c_evaluator.py at c121f043.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.rows import Row
from prunegrid.tasks.soft import SoftAccuracy


@dataclass(frozen=True, kw_only=True)
class TextVqa(SoftAccuracy):
    """Rows: answer = list of 10 texts; ocr_tokens [text, ...] where the prompt names {ocr}."""

    version: ClassVar[str] = "1"

    def check(self, row: Row, where: str) -> None:
        super().check(row, where)
        tokens = row.get("ocr_tokens", [])
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise TaskError(f"{where}: ocr_tokens must be a list of texts, not {tokens!r}")

    def fields(self, row: Row) -> Mapping[str, object]:
        # without the field there is no {ocr}: a prompt that names it then fails instead of showing no words
        return {**row, "ocr": ", ".join(row["ocr_tokens"])} if "ocr_tokens" in row else row
