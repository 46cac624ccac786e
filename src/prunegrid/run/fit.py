"""`python -m prunegrid.run.fit`: does each reducer take its parameters, and fit its model, and does each tuning take its
settings? Asked by the planner.

In: a JSON list of {reducer, tuned, model} and {tuning}, the working folder is the project's. Out: for each null, or what
is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunegrid.run import build
from prunegrid.shape import ModelShape
from prunegrid.tune.recipe import Recipe


def wrong(question: Mapping[str, Any], root: Path) -> str | None:
    """reducer: resolved, budgets `like` another cell's included. tuned: its own weights come from a training. model:
    path, config and figures of conf/model. A method that raises is wrong, whatever it raises. tuning: its settings."""
    if "tuning" in question:
        return _misfit(question["tuning"])
    option, model = dict(question["reducer"]), question["model"]
    if question["tuned"] and "untrained" in option and option.get("weights") is None:
        option["untrained"] = True
    like = [key for key, value in option.items() if isinstance(value, Mapping)]
    # A budget `like` another cell's is known once that is predicted: one that fits is enough here.
    budgets = [max(1, model["tokens"] // part) for part in (2, 1, 8)] if like else [0]
    said = [_refusal({**option, **dict.fromkeys(like, n)}, shape(model, root)) for n in budgets]
    return said[0] if all(said) else None


def _misfit(tuning: Mapping[str, Any]) -> str | None:
    try:
        Recipe.of(tuning)
    except ValueError as error:
        return str(error)
    return None


def _refusal(option: Mapping[str, Any], made: ModelShape) -> str | None:
    from prunegrid.reduce.fit import check_fits

    try:
        check_fits(build.method(option), made)
    except ValueError as error:
        return str(error)
    except Exception as error:  # a method of the user's own may raise anything
        return f"{type(error).__name__}: {error}"
    return None


def shape(model: Mapping[str, Any], root: Path) -> ModelShape:
    """Of the checkpoint where it is there and has the stated figures; else LLaVA-1.5's with these figures."""
    figures = {key: model[key] for key in ("side", "vision_layers", "llm_layers")}
    try:
        file = root / model["path"] / "config.json"
        made = ModelShape.from_config(
            json.loads(file.read_text(encoding="utf-8")) if file.exists() else model["config"]
        )
        if figures == {
            "side": made.vision.side,
            "vision_layers": made.vision.layers,
            "llm_layers": made.llm.layers,
        }:
            return made
    except (OSError, ValueError):
        pass  # a broken checkpoint is the prediction's to refuse
    tower = {"model_type": "clip_vision_model", "hidden_size": 1024, "num_attention_heads": 16}
    sizes = {"intermediate_size": 4096, "patch_size": 14, "image_size": 14 * figures["side"]}
    return ModelShape.from_config(
        {
            "vision_config": {**tower, **sizes, "num_hidden_layers": figures["vision_layers"]},
            "text_config": {"num_hidden_layers": figures["llm_layers"]},
        }
    )


if __name__ == "__main__":
    print(json.dumps([wrong(question, Path()) for question in json.load(sys.stdin)]))
