"""TextVQA without the OCR words in its prompts: the files of TextVQA."""

from prunegrid.tasks.layouts.textvqa import TASK, read

__all__ = ["TASK", "read"]
