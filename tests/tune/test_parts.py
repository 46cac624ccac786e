"""What was trained, kept and put back: the merged model answers as the trained one did; half a tuning is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from prunegrid.reduce import ReducedVLM, Reducer
from prunegrid.reduce.methods.c_abstractor import CAbstractor
from prunegrid.tune import adapters, parts
from prunegrid.tune.errors import TuneError
from prunegrid.tune.recipe import Recipe
from prunegrid.tune.state import State, Stop

from .lab import Lab, Watch


@pytest.mark.parametrize("reducer", [Reducer(), Watch()], ids=["none", "watch"])
@pytest.mark.parametrize("kind", ["projector", "lora", "full"])
def test_the_merged_model_equals_the_trained_one(
    lab: Lab, tmp_path: Path, kind: str, reducer: Reducer
) -> None:
    tuner = lab.tuner(reducer, kind=kind)
    tuner.run(State(tmp_path, "f"), Stop(), show=False)
    batch = lab.packer().pack(lab.ten()[:2], torch.float32)
    parts.keep(tmp_path / "weights.safetensors", tuner.weights, tuner.recipe)
    assert (tmp_path / "weights.safetensors").stat().st_mode & 0o444 == 0o444
    fresh = adapters.put_in(copy.deepcopy(lab.model), tmp_path / "weights.safetensors").eval()
    assert not any("lora" in n for n, _ in fresh.named_modules())
    logits = [
        ReducedVLM(m.eval(), reducer).forward(batch.inputs, ids=batch.ids)[0].logits
        for m in (tuner.model, fresh, lab.model)
    ]
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-4)
    assert (logits[2] - logits[0]).abs().max() > 0.01


def test_a_reducers_own_weights_are_trained_and_kept(lab: Lab, tmp_path: Path) -> None:
    reducer = CAbstractor(side=2, untrained=True)
    tuner = lab.tuner(reducer, projector_rate=0.001)
    own = tuner._hosts[True].host.module
    assert own is not None
    before = {n: p.detach().clone() for n, p in own.named_parameters()}
    tuner.run(State(tmp_path, "f"), Stop(), show=False)
    assert any(not torch.equal(p, before[n]) for n, p in own.named_parameters())
    mine = {id(p) for p in own.parameters()}
    assert {g["peak"] for g in tuner.optimiser.param_groups for p in g["params"] if id(p) in mine} == {0.001}
    file = tmp_path / "weights.safetensors"
    parts.keep(file, tuner.weights, tuner.recipe)
    fresh = ReducedVLM(copy.deepcopy(lab.model), reducer)
    fresh.model = adapters.put_in(fresh.model, file, fresh.host.module)
    batch = lab.packer().pack(lab.ten()[:2], torch.float32)
    own.eval()
    got, want = (
        ReducedVLM.forward(host, batch.inputs, ids=batch.ids)[0].logits
        for host in (fresh, tuner._hosts[True])
        if host.model.eval()
    )
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    with pytest.raises(TuneError, match="does not fit this model"):
        adapters.put_in(copy.deepcopy(lab.model), file)


def test_rates_are_the_recipes(lab: Lab) -> None:
    tuner = lab.tuner(Watch(), projector_rate=0.001, decay=0.1)
    peaks = {g["peak"]: g["weight_decay"] for g in tuner.optimiser.param_groups if g["weight_decay"]}
    assert peaks == {0.01: 0.1, 0.001: 0.1}
    recipe = Recipe("lora", rate=1.0, warmup=0.1)
    shares = [recipe.share(step, 20) for step in range(20)]
    assert shares[:3] == [0.0, 0.5, 1.0] and shares[3:] == sorted(shares[3:], reverse=True)
    assert recipe.share(20, 20) == pytest.approx(0.0)


def test_a_fresh_projector_is_drawn_from_the_seed(lab: Lab) -> None:
    name = "model.multi_modal_projector.linear_1.weight"
    made = [
        lab.tuner(Reducer(), kind="projector", fresh=fresh).weights[name] for fresh in (True, True, False)
    ]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[2], dict(lab.model.named_parameters())[name])
    assert not torch.equal(made[0], made[2])


def test_half_a_tuning_is_refused(lab: Lab, tmp_path: Path) -> None:
    tuner = lab.tuner(Watch())
    file = tmp_path / "weights.safetensors"
    some = dict(list(tuner.weights.items())[:-1])
    parts.keep(file, some, tuner.recipe)
    with pytest.raises(TuneError, match="does not fit this model"):
        adapters.put_in(copy.deepcopy(lab.model), file)
    file.write_bytes(b"no")
    with pytest.raises(TuneError, match="is missing or no tuning"):
        adapters.put_in(copy.deepcopy(lab.model), file)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "both"}, "kind='both' must be one of projector, lora, full"),
        ({"style": "chat"}, "style='chat'"),
        ({"rate": 0.0}, "rate=0.0 must be above 0"),
        ({"batch": 10, "micro": 4}, "batch=10 must be a multiple of micro=4"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 2.5}, "steps=2.5 must be at least 1"),
        ({"batch": "all"}, "batch='all' must be a whole number"),
        ({"projector_rate": 0.0}, "projector_rate=0.0 must be above 0, or null"),
        ({"alpha": -5}, "alpha=-5 must be above 0"),
        ({"warmup": 2}, "warmup=2 must lie in 0..1"),
        ({"dropout": 1.5}, "dropout=1.5 must lie in 0..1"),
        ({"faults": -1}, "faults=-1 must lie in 0..1"),
        ({"decay": -0.1}, "decay=-0.1 must be at least 0"),
        ({"dtype": "float16"}, "dtype='float16' must be one of float32, bfloat16"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe(**{"kind": "lora", "rate": 1e-3, **settings})  # type: ignore[arg-type]
