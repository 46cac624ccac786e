"""Benchmarks: what is asked, how an answer is judged, how judgements become a score.

Imports nothing else of this package. One benchmark is one module; `base.Task` is what they share.
"""

from prunegrid.tasks.base import Mode, Record, Sample, Task, limit_clusters
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.images import check_images

__all__ = ["Mode", "Record", "Sample", "Task", "TaskError", "check_images", "limit_clusters"]
