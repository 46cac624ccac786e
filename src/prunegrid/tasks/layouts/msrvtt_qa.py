"""MSRVTT-QA: the files of video questions."""

from prunegrid.tasks.layouts.videoqa import read

__all__ = ["read"]
