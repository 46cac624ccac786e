"""`prunegrid model`: add a model on a node with network, convert LLaVA's own layouts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any) -> None:
    """Add the model commands to the parser."""
    model = commands.add_parser("model", help="fetch and pin a model; convert LLaVA's own layouts")
    verbs = model.add_subparsers(dest="verb", required=True)
    fetch = verbs.add_parser(
        "add", help="fetch the files of conf/model/NAME.yaml and pin them (needs network)"
    )
    fetch.add_argument("name", help="a model of conf/model/")
    fetch.add_argument(
        "--from", dest="given", type=Path, help="files that are there: a folder per role, or llava alone"
    )
    fetch.add_argument("--again", action="store_true", help="fetch anew and pin what the hub has today")
    fetch.add_argument("--pinned", action="store_true", help="only what the lock file pins already")
    fetch.add_argument("--stamp", type=Path, help="file to write when all is there")
    fetch.set_defaults(run=_add)
    convert = verbs.add_parser("convert", help="LLaVA's own layout -> HuggingFace safetensors and processor")
    convert.add_argument("source", type=Path, help="a folder in one of LLaVA's layouts")
    convert.add_argument("out", type=Path, help="the folder to write")
    convert.add_argument("--base", type=Path, help="Vicuna, for adapters and stage-1 projectors")
    convert.add_argument("--vision", type=Path, help="the CLIP, as OpenAI's repository has it")
    convert.add_argument(
        "--tokenizer", type=Path, help="a folder with tokenizer.json (default: SOURCE, then base)"
    )
    convert.set_defaults(run=_convert)


def _add(arguments: argparse.Namespace) -> None:
    from prunegrid.run.model_add import Request, add, stamp

    asked = Request(arguments.root, arguments.name, arguments.given, arguments.again, arguments.pinned)
    entry = _plainly(lambda: add(asked))
    if arguments.stamp:
        stamp(arguments.stamp, entry)
    print(f"{arguments.name} is there: revision {entry['revision']}")


def _convert(arguments: argparse.Namespace) -> None:
    def work() -> str:
        from prunegrid.checkpoints.convert import Sources, convert

        parts = Sources(arguments.source, arguments.base, arguments.vision, arguments.tokenizer)
        return convert(parts, arguments.out)

    print(f"{arguments.out}: converted from a {_plainly(work)} checkpoint")


def _plainly(work: Any) -> Any:
    """Run; what is wrong with a checkpoint is a user's error."""
    from prunegrid.checkpoints.layouts import CheckpointError
    from prunegrid.run.errors import BuildError

    try:
        return work()
    except CheckpointError as error:
        raise BuildError(str(error)) from error
