"""Fetching from the model hub, on a node with network: pinned by commit, resumed where it stopped, with progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from prunegrid.run.files import ResultError

Kind = Literal["model", "dataset"]


def commit(repositories: Sequence[str], revision: str | None, kind: Kind, remedy: str) -> tuple[str, str]:
    """(name, commit) of the first of several names of one repository that the hub knows, at `revision` or today.

    Raises ResultError with `remedy` where there is no network or none of the names exists.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    refused: list[str] = []
    for name in repositories:
        try:
            found = HfApi().repo_info(name, revision=revision, repo_type=kind)
        except RepositoryNotFoundError as error:
            refused.append(f"{name}: {_line(error)}")
            continue
        except Exception as error:  # of whichever HTTP library the hub's client stands on
            raise ResultError(f"{name} cannot be asked for ({_line(error)}); {remedy}") from error
        if found.sha:
            return name, found.sha
    raise ResultError(f"no such {kind}, or no right to read it: {'; '.join(refused)}; {remedy}")


def fetch(
    repository: str, revision: str, folder: Path, patterns: Sequence[str], kind: Kind, remedy: str
) -> None:
    """Files of one commit that fit `patterns`, into `folder`. What is there already is not fetched again."""
    from huggingface_hub import snapshot_download

    print(f"fetching {repository} at {revision} into {folder}", flush=True)
    try:
        snapshot_download(
            repository, repo_type=kind, revision=revision, local_dir=folder, allow_patterns=list(patterns)
        )
    except Exception as error:  # of whichever HTTP library the hub's client stands on
        raise ResultError(
            f"{repository} was not fetched whole ({_line(error)}); run the same command again to go on, or {remedy}"
        ) from error
    if not any(p.is_file() and ".cache" not in p.parts for p in folder.rglob("*")):
        raise ResultError(f"{repository} at {revision} has no file like {', '.join(patterns)}; {remedy}")


def _line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
