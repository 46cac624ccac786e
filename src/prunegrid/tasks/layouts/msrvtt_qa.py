"""MSRVTT-QA: the files of video questions."""

from prunegrid.tasks.layouts.videoqa import TASK, read

__all__ = ["TASK", "read"]
