"""Reading the output of sacct, squeue and scontrol. Pure functions from text to job states."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from .states import JobState, Question

SACCT_FIELDS = "JobID,State,ExitCode,NodeList,Submit,Reason,Comment"
SQUEUE_FORMAT = "%i|%T|%N|%k|%r"
_CLOCK_SLACK_S = 600.0  # the controller's clock may differ from this host's


def expand_ids(text: str) -> Iterator[str]:
    """Single job ids of `12`, `12_3`, `12_[2-5,7%3]` (a pending array) and `12_[0-8:2]` (a stepped one).

    Ids of steps (`12.batch`), heterogeneous parts (`12+1`) and shortened lists (`12_[1,2,...]`) give what is
    readable of them.
    """
    match = re.fullmatch(r"(\d+)_\[([^\]%]*)(?:%\d+)?\]?", text.strip())
    if match is None:
        if re.fullmatch(r"\d+(_\d+)?", text.strip()):
            yield text.strip()
        return
    base, ranges = match.groups()
    for part in ranges.split(","):
        bounds = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part.strip())
        if bounds is not None:
            first, last, step = (int(value) if value else None for value in bounds.groups())
            assert first is not None
            yield from (f"{base}_{index}" for index in range(first, (last or first) + 1, step or 1))


def parse_sacct(text: str, asked: Mapping[str, Question]) -> dict[str, JobState]:
    """States from `sacct -X -n -P -o <SACCT_FIELDS>`.

    Rows of jobs that were not asked about are left out, and rows that are older than the job's submission:
    they belong to an earlier job with the same id.
    """
    found = {}
    for line in text.splitlines():
        cells = line.split("|")
        if len(cells) < 7:
            continue
        state, by = _state(cells[1])
        node = "" if cells[3].startswith("None") else cells[3]
        reason = "" if cells[5] in ("", "None", "Unknown") else cells[5]
        for job_id in expand_ids(cells[0]):
            if job_id in asked and not _older(cells[4], asked[job_id].submitted):
                found[job_id] = JobState(state, reason, cells[2], node, by, cells[6])
    return found


def parse_squeue(text: str) -> dict[str, JobState]:
    """States from `squeue -h --states=all -o '<SQUEUE_FORMAT>'`."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|", 4)]
        if len(cells) < 5:
            continue
        state, by = _state(cells[1])
        reason = "" if cells[4] == "None" else cells[4]
        mark = "" if cells[3] == "(null)" else cells[3]
        for job_id in expand_ids(cells[0]):
            found[job_id] = JobState(state, reason, "", cells[2], by, mark)
    return found


def parse_scontrol(text: str) -> dict[str, JobState]:
    """States from `scontrol -o show job`: one line per job or pending array."""
    found = {}
    for line in text.splitlines():
        pairs = dict(re.findall(r"(?:^|\s)(\w+)=(\S*)", line))
        if "JobId" not in pairs:
            continue
        job_id = pairs["JobId"]
        if "ArrayJobId" in pairs and "ArrayTaskId" in pairs:
            tasks = pairs["ArrayTaskId"]
            job_id = f"{pairs['ArrayJobId']}_" + (tasks if tasks.isdigit() else f"[{tasks}]")
        state, by = _state(pairs.get("JobState", ""))
        reason = "" if pairs.get("Reason") in (None, "None") else pairs["Reason"]
        node = "" if pairs.get("NodeList") in (None, "(null)") else pairs["NodeList"]
        for single in expand_ids(job_id):
            found[single] = JobState(
                state, reason, pairs.get("ExitCode", ""), node, by, pairs.get("Comment", "")
            )
    return found


def max_array_size(config: str) -> int | None:
    """Largest number of tasks in an array, from `scontrol show config`; None if it does not say."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
    return max(1, int(match.group(1))) if match else None


def marked_jobs(text: str, mark: str) -> list[str]:
    """Ids of jobs whose comment is `mark`, from `squeue -h -o '%A|%k'`."""
    rows = (line.split("|", 1) for line in text.splitlines() if "|" in line)
    return sorted({job_id.strip() for job_id, comment in rows if comment.strip() == mark})


def _state(text: str) -> tuple[str, str]:
    # "CANCELLED by 1000", "FAILED+", "CANCELLED+"
    words = text.split()
    state = words[0].rstrip("+") if words else "UNKNOWN"
    return state, words[2] if len(words) > 2 and words[1] == "by" else ""


def _older(stamp: str, submitted: float) -> bool:
    try:
        return datetime.fromisoformat(stamp).timestamp() < submitted - _CLOCK_SLACK_S
    except ValueError:
        return False
