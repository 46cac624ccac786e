"""VQAv2: soft accuracy as the challenge server computes it, over all questions and by type.

Source: scripts/v1_5/eval/vqav2.sh, llava/eval/model_vqa_loader.py and m4c_evaluator.py at c121f043 (answers
are normalised before upload); vqaEval.py of the VQA toolkit at a013f00. Test-dev has no public answers: a
score on val2014 is another number (its images are in the training mix), and tables must say so.
"""

from dataclasses import dataclass
from typing import ClassVar

from prunegrid.tasks.soft import Evaluator, SoftAccuracy


@dataclass(frozen=True, kw_only=True)
class VqaV2(SoftAccuracy):
    """Rows: answer = list of 10 texts; type (answer type, or kind of question)."""

    version: ClassVar[str] = "1"

    evaluator: Evaluator = "vqa_official"
