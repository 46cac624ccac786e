"""Captions as lists of facts: how many of the true facts were stated, how many of the stated ones are true.

A format of this project, for answers long enough that methods which act while decoding can be told apart.

* A fact is a phrase ("a small red circle at the top left"), or a list of phrases that mean the same.
* A text states one fact per sentence; sentences end with . ! ? ; or a line break.
* Two phrases are equal if they are after: lower case, punctuation and articles dropped, an opening
  "there is" or "there are" dropped.
* Duplicates count once: facts of the reference that share a phrase are one fact, a sentence said twice (or
  once per alias) is one statement.
* recall = stated true facts / reference facts; precision = stated true facts / statements;
  f1 = 2 * stated true facts / (statements + reference facts). Sums are over the questions drawn (micro).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from prunegrid.tasks.base import Array, Mode, Record, Task
from prunegrid.tasks.errors import TaskError
from prunegrid.tasks.ratios import ratio
from prunegrid.tasks.rows import Kinds, Row

# a period inside a number ("3.5") ends no sentence
_END = re.compile(r"[!?;\n]|\.(?!\d)")
_WORD = re.compile(r"[^\W_]+(?:\.\d+)?")
_OPENING = ("there is ", "there are ")
_ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True, kw_only=True)
class Caption(Task):
    """Rows: answer = list of facts, each a phrase or a list of phrases that mean the same."""

    version: ClassVar[str] = "1"
    primary: ClassVar[str] = "f1"
    needs: ClassVar[Mapping[str, Kinds]] = {"answer": list}

    def check(self, row: Row, where: str) -> None:
        if not row["answer"]:
            raise TaskError(f"{where}: answer must list at least one fact")
        for fact in row["answer"]:
            phrases = _phrases(fact)
            if not phrases or not all(isinstance(p, str) and normal(p) for p in phrases):
                raise TaskError(f"{where}: fact {fact!r} must be a phrase or a list of phrases")

    def verdict(self, record: Record, text: str, mode: Mode) -> Mapping[str, Any]:
        """{facts, stated, true, words}: counts of distinct facts; nothing is guessed, so the modes agree."""
        known = reference(record.answer)
        stated = {known.get(phrase, phrase) for phrase in statements(text)}
        true = stated.intersection(known.values())
        return {
            "facts": len(set(known.values())),
            "stated": len(stated),
            "true": len(true),
            "words": len(text.split()),
        }

    def tally(self, judged: Sequence[Mapping[str, Any]]) -> list[list[float]]:
        """[n, 5]: captions, facts, stated, true, words."""
        return [[1, row["facts"], row["stated"], row["true"], row["words"]] for row in judged]

    def measures(self, counts: Array) -> Mapping[str, Array]:
        """recall, precision, f1 in [0, 1]; stated (facts) and words per caption."""
        captions, facts, stated, true, words = (counts[..., i] for i in range(5))
        return {
            "f1": ratio(2 * true, stated + facts),
            "recall": ratio(true, facts),
            "precision": ratio(true, stated),
            "stated": ratio(stated, captions),
            "words": ratio(words, captions),
        }


def normal(phrase: str) -> str:
    """The form in which phrases are compared."""
    found = " ".join(_WORD.findall(phrase.lower()))
    opening = next((o for o in _OPENING if found.startswith(o)), "")
    return " ".join(word for word in found.removeprefix(opening).split() if word not in _ARTICLES)


def statements(text: str) -> list[str]:
    """Distinct facts stated by `text`, normalised, in order; an unfinished last sentence is one as well."""
    return list(dict.fromkeys(phrase for part in _END.split(text) if (phrase := normal(part))))


def reference(answer: Sequence[str | Sequence[str]]) -> dict[str, str]:
    """Normalised phrase -> the phrase that stands for its fact; facts sharing a phrase are merged."""
    known: dict[str, str] = {}
    for fact in answer:
        phrases = [normal(phrase) for phrase in _phrases(fact)]
        heads = {known[phrase] for phrase in phrases if phrase in known}
        head = phrases[0]
        known.update({phrase: head for phrase, old in known.items() if old in heads})
        known.update(dict.fromkeys(phrases, head))
    return known


def _phrases(fact: Any) -> Sequence[Any]:
    return fact if isinstance(fact, list) else [fact]
