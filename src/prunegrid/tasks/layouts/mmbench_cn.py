"""MMBench-CN: the files of MMBench with Chinese questions; `cc` has no rotations."""

from prunegrid.tasks.layouts.mmbench import TASK, read

__all__ = ["TASK", "read"]
