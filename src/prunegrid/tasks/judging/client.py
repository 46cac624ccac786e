"""One question to a chat endpoint with OpenAI's interface (base URL + /chat/completions). Standard library only.

A key is read from the environment when a request is made and stands nowhere else. Requests that may succeed
later (rate limits, outages, broken answers) are repeated with growing pauses; others fail at once.
"""

import http.client
import json
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from prunegrid.tasks.errors import TaskError

_LATER = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_LARGEST = 1 << 22  # bytes of a reply


class JudgeError(RuntimeError):
    """The judge gave no usable answer. Never turned into a score."""


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Where a judge is and how it is asked; conf/judge.yaml."""

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"  # name of the environment variable; "" = the endpoint wants no key
    temperature: float = 0.2
    max_tokens: int = 1024
    tries: int = 6
    first_pause: float = 2.0  # seconds; doubled after each failure
    longest_pause: float = 60.0
    timeout: float = 120.0

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build from a mapping; TaskError if an option is unknown, missing or out of range."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(config) - known)
        missing = sorted({"base_url", "model"} - set(config))
        if unknown or missing:
            fault = f"unknown {', '.join(unknown)}" if unknown else f"missing {', '.join(missing)}"
            raise TaskError(f"judge: {fault}; options are {', '.join(sorted(known))}")
        made = cls(**config)
        if urllib.parse.urlsplit(made.base_url).scheme not in ("http", "https"):
            raise TaskError(f"judge: base_url {made.base_url!r} must begin with http:// or https://")
        if made.tries < 1:
            raise TaskError(f"judge: tries {made.tries} must be at least 1")
        return made


@dataclass(frozen=True)
class Reply:
    """What the judge said, and which model says that it said it."""

    text: str
    model: str


def ask(
    judge: Judge, messages: Sequence[Mapping[str, str]], sleep: Callable[[float], None] = time.sleep
) -> Reply:
    """The judge's reply to `messages` ({role, content}). JudgeError after the last failure."""
    request = _request(judge, messages)
    faults = []
    for attempt in range(judge.tries):
        if attempt:
            pause = min(judge.longest_pause, judge.first_pause * 2 ** (attempt - 1))
            sleep(pause * (1 + random.random() / 4))  # several jobs do not come back at once
        try:
            return _once(request, judge)
        except _Later as error:
            faults.append(str(error))
    raise JudgeError(f"{judge.model}: no answer in {judge.tries} tries (last: {faults[-1]})")


class _Later(Exception):
    """A failure that may pass."""


def _request(judge: Judge, messages: Sequence[Mapping[str, str]]) -> urllib.request.Request:
    headers = {"Content-Type": "application/json"}
    if judge.key_variable:
        key = os.environ.get(judge.key_variable)
        if not key:
            raise TaskError(
                f"judge: set ${judge.key_variable}, or key_variable: '' for an endpoint without key"
            )
        headers["Authorization"] = f"Bearer {key}"
    body = {
        "model": judge.model,
        "messages": list(messages),
        "temperature": judge.temperature,
        "max_tokens": judge.max_tokens,
    }
    url = judge.base_url.rstrip("/") + "/chat/completions"
    return urllib.request.Request(url, json.dumps(body).encode(), headers)


def _once(request: urllib.request.Request, judge: Judge) -> Reply:
    try:
        with urllib.request.urlopen(request, timeout=judge.timeout) as response:
            raw = response.read(_LARGEST)
    except urllib.error.HTTPError as error:
        said = f"status {error.code}"
        if error.code in _LATER:
            raise _Later(said) from error
        raise JudgeError(f"{judge.model} at {judge.base_url}: {said}; {_reason(error)}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _Later(f"{type(error).__name__}: {error}") from error
    try:
        reply = json.loads(raw)
        text = reply["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _Later(f"a reply without choices[0].message.content: {raw[:80]!r}") from error
    if not isinstance(text, str) or not text.strip():
        raise _Later("an empty reply")
    return Reply(text, str(reply.get("model", judge.model)))


def _reason(error: urllib.error.HTTPError) -> str:
    return error.read(300).decode("utf-8", "replace").strip() or "no reason given"
