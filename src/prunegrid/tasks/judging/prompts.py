"""What a judge is told about an answer, and how its words are read, for each benchmark that needs one.

The benchmarks' own wordings are not part of this project; these ask for the same thing, in the same order of
material (EVAL: context, question, both answers; question, reference, answer), so judgements made with them are
comparable with one another and not with printed numbers. A changed wording gets a new version.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from prunegrid.tasks.base import Record
from prunegrid.tasks.errors import TaskError

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Asking:
    """How one benchmark asks: messages of a record, and the verdict in a reply (None = not readable).

    `needed`: without a judge the benchmark has no score at all.
    """

    version: str
    messages: Callable[[Record], Messages]
    verdict: Callable[[str], Any]
    needed: bool = True


def _talk(system: str, user: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def _told(record: Record, key: str) -> str:
    value = record.meta.get(key)
    if not isinstance(value, str) or not value:
        raise TaskError(
            f"record {record.id!r}: a judge needs {key!r}; pass the benchmark's files as annotations"
        )
    return value


_WILD = (
    "You compare two assistants fairly and exactly. Judge how helpful, relevant, accurate and detailed each answer"
    " is, given a description of the picture that neither you nor the first assistant can see."
)
_WILD_END = (
    "Give each assistant a number from 1 to 10, higher for the better answer. Your first line holds these two"
    " numbers alone, first assistant 1, then assistant 2, separated by a space. Explain yourself below it, without"
    " letting the order of the answers sway you."
)


def wild_messages(record: Record) -> Messages:
    """LLaVA-Bench: description, question, reference answer as assistant 1, the answer as assistant 2."""
    parts = {
        "Context": _told(record, "caption"),
        "Question": _told(record, "asked"),
        "Assistant 1": str(record.answer),
        "Assistant 2": record.text,
    }
    material = "\n\n".join(f"[{name}]\n{text}\n[End of {name}]" for name, text in parts.items())
    return _talk(_WILD, f"{material}\n\n{_WILD_END}")


def wild_verdict(text: str) -> list[float] | None:
    """The two numbers of the first line; None if there are not exactly two in [0, 10]."""
    found = re.findall(r"-?\d+(?:\.\d+)?", text.strip().split("\n")[0].replace(",", " "))
    points = [float(number) for number in found]
    return points if len(points) == 2 and all(0 <= p <= 10 for p in points) else None


_VET = (
    "You grade an answer to a question about a picture by comparing it with the correct answer. Say how much of the"
    " correct answer it states: 0.0 is none of it, 1.0 all of it, one decimal place. <AND> between parts of the"
    " correct answer means that all are wanted, <OR> that one is enough. Reply with the number alone."
)


def vet_messages(record: Record) -> Messages:
    """MM-Vet: question, correct answer, answer."""
    asked = (
        f"Question: {_told(record, 'asked')}\nCorrect answer: {record.answer}\nAnswer: {record.text}\nGrade:"
    )
    return _talk(_VET, asked)


def vet_verdict(text: str) -> float | None:
    """A number in [0, 1] and nothing else."""
    match = re.fullmatch(r"\s*(?:grade:?)?\s*([01](?:\.\d+)?)\s*\.?\s*", text, re.IGNORECASE)
    return float(match[1]) if match and float(match[1]) <= 1 else None


_VIDEO = (
    "You check whether a predicted answer to a question about a video means the same as the correct answer. Synonyms"
    " and paraphrases count as the same. Reply with a JSON object alone, of the form"
    ' {"pred": "yes" or "no", "score": a whole number from 0 to 5 that says how well they agree}.'
)


def video_messages(record: Record) -> Messages:
    """Video questions: question, correct answer, predicted answer."""
    asked = f"Question: {_told(record, 'asked')}\nCorrect answer: {record.answer}\nPredicted answer: {record.text}"
    return _talk(_VIDEO, asked)


def video_verdict(text: str) -> dict[str, Any] | None:
    """{pred, score} of the one object in the reply; single quotes are read as well."""
    match = re.search(r"\{[^{}]*\}", text)
    if match is None:
        return None
    for reader in (json.loads, ast.literal_eval):
        try:
            return _video(reader(match[0]))
        except (ValueError, SyntaxError):
            continue
    return None


def _video(found: Any) -> dict[str, Any] | None:
    said = str(found.get("pred", "")).strip().lower() if isinstance(found, dict) else ""
    points = found.get("score") if said in ("yes", "no") else None
    good = isinstance(points, int | float) and not isinstance(points, bool) and 0 <= points <= 5
    return {"pred": said, "score": points} if good else None


_VIDEOS = Asking("1", video_messages, video_verdict, needed=False)
ASKING: Mapping[str, Asking] = MappingProxyType(
    {
        "llava_wild": Asking("1", wild_messages, wild_verdict),
        "mmvet": Asking("1", vet_messages, vet_verdict),
        "msvd_qa": _VIDEOS,
        "msrvtt_qa": _VIDEOS,
        "activitynet_qa": _VIDEOS,
    }
)


def asking(task: str) -> Asking:
    """How `task` asks its judge; TaskError for a task that needs none."""
    if task not in ASKING:
        raise TaskError(f"task {task!r} needs no judge; those that do are {', '.join(ASKING)}")
    return ASKING[task]
