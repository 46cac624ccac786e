"""The learned projectors against loops over their own weights; weights kept and refused; inside the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from vit_view import shape

from prunegrid.reduce import PromptText, ReducedVLM
from prunegrid.reduce.learned import Learned, save
from prunegrid.reduce.methods.c_abstractor import Abstractor, CAbstractor
from prunegrid.reduce.methods.llama_vid import END, START, ContextToken, LLaMAVID
from prunegrid.reduce.methods.qwen_resampler import QwenResampler, Resampler
from prunegrid.reduce.methods.sincos import resized, sincos
from prunegrid.shape import ModelShape, llava15_7b
from reduce import lab, oracle
from reference import projectors as slow

pytestmark = pytest.mark.usefixtures("no_grad")
ASKED = [PromptText("Is there a red ball?"), PromptText("What does the sign say?")]
SMALL: dict[str, Any] = {"untrained": True}
METHODS: list[tuple[Learned, int]] = [
    (QwenResampler(**SMALL, side=2), 4),
    (QwenResampler(**SMALL, side=3, width="llm"), 9),
    (CAbstractor(**SMALL, side=2, depth=1), 4),
    (LLaMAVID(**SMALL, side=2, layers=2, width=64), 5),
]
IDS = ["qwen", "qwen-wide", "c-abstractor", "llama-vid"]
BATCHES = pytest.mark.parametrize("samples", [1, 4])


def weights(module: torch.nn.Module, seed: int = 3) -> dict[str, Tensor]:
    """Random everywhere, so that no zero or one hides an error."""
    g = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        value.copy_(torch.randn(value.shape, generator=g) * 0.3 + 0.05)
    return dict(module.state_dict())


@BATCHES
@pytest.mark.parametrize(
    ("side", "grid", "inputs", "width"),
    [(2, 2, 8, 8), (3, 3, 12, 256), (4, 4, 16, 32), (2, 6, 8, 8), (3, 5, 12, 256)],
)
def test_the_resampler_equals_the_loop(side: int, grid: int, inputs: int, width: int, samples: int) -> None:
    made = Resampler(
        side, inputs, width
    ).double()  # random weights make sharp rows, where fp32 rounds to 1e-4
    w, x = weights(made), torch.randn(samples, grid**2, inputs).double()
    for b in range(samples):
        want = slow.resample(x[b], w, side, max(1, width // 128))
        lab.close(made(x)[b], want)  # positions are interpolated in fp32


@pytest.mark.parametrize("target", [3, 5, 12])
def test_positions_of_another_grid_are_interpolated(target: int) -> None:
    table = torch.randn(36, 8)
    got = resized(table, target**2).view(target, target, 8)
    line = slow.cubic(6, target)
    want = torch.einsum("ir,jc,rcd->ijd", line, line, table.view(6, 6, 8))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert resized(table, 36) is table
    with pytest.raises(ValueError, match="a width that 4 divides, got 6"):
        sincos(6, 2)


@BATCHES
@pytest.mark.parametrize(("grid", "side", "depth", "group"), [(4, 2, 1, 1), (4, 4, 2, 2), (6, 3, 1, 4)])
def test_the_c_abstractor_equals_the_loop(grid: int, side: int, depth: int, group: int, samples: int) -> None:
    made = Abstractor(grid**2, 8, 12, side, 16, depth, group)
    w, x = weights(made), torch.randn(samples, grid**2, 8)
    for b in range(samples):
        lab.close(made(x)[b], slow.abstract(x[b], w, side, depth, group))


@BATCHES
@pytest.mark.parametrize("side", [1, 2, 4, None])
def test_the_context_token_equals_the_loop(side: int | None, samples: int) -> None:
    made = ContextToken(16, 24, 2, 64, side, None).eval()
    w, x = weights(made), torch.randn(samples, 16, 16)
    project, said = torch.nn.Linear(16, 24), (ASKED * 2)[:samples]
    out, asked = made(x, project, said), made.read(x, said)
    for b in range(samples):
        lab.close(out[b, 0], slow.context(x[b], asked[b], w))
        cell = 4 // (side or 4)
        cells = [
            torch.stack([x[b, 4 * r + c] for r in range(i, i + cell) for c in range(j, j + cell)]).mean(0)
            for i in range(0, 4, cell)
            for j in range(0, 4, cell)
        ]
        lab.close(out[b, 1:], project(torch.stack(cells)))
        alone = made(x[b : b + 1], project, said[b : b + 1])
        lab.close(out[b], alone[0])
    assert (out[0, 0] - made(x[:1], project, ASKED[1:])[0, 0]).abs().max() > 1e-4, (
        "the question does not matter"
    )


def test_only_what_the_user_said_is_read() -> None:
    made, x = ContextToken(16, 24, 2, 64, 1, None).eval(), torch.randn(1, 16, 16)
    said = PromptText("You help. USER: Is it red? ASSISTANT:", turn=(16, 26))
    weights(made)
    ids = torch.tensor([[START, *(b + 3 for b in b"Is it red?"), END]])
    seen = torch.ones(1, 32 + ids.shape[1], dtype=torch.long)
    states = made.reader(ids, seen, query_embeds=made.query, encoder_hidden_states=x).last_hidden_state
    lab.close(made.read(x, [said]), made.text(states[:, :32]))  # the queries come first


def test_long_questions_lose_their_beginning() -> None:
    made = ContextToken(16, 24, 1, 64, 1, None)
    ids = made.encode("x" * 300 + "end")
    assert len(ids) == 256 and (ids[0], ids[-1]) == (START, END) and ids[-4:-1] == [b + 3 for b in b"end"]


def test_sizes_at_full_scale() -> None:
    """64 tokens: 2.8 GFLOPs for the narrow resampler is a key and a value projection of 576 x 1024^2 and a little."""
    full = llava15_7b()
    with torch.device("meta"):
        narrow, wide = (QwenResampler(width=w).build(full) for w in ("vision", "llm"))
        convolutions = CAbstractor().build(full)
    assert narrow.resampler.query.shape == (64, 1024) and wide.resampler.query.shape == (64, 4096)
    assert narrow.resampler.attn.num_heads == 8 and wide.resampler.attn.num_heads == 32
    assert wide.resampler.kv_proj.weight.shape == (4096, 1024)
    assert convolutions.position.shape == (1, 576, 1024) and convolutions.readout[2].weight.shape == (
        4096,
        4096,
    )
    assert len(convolutions.before) == len(convolutions.after) == 3


def test_initialisation_is_the_published_one() -> None:
    torch.manual_seed(0)
    made = Resampler(16, 512, 1024)
    assert abs(float(made.query.std()) - 0.02) < 1e-3 and abs(float(made.kv_proj.weight.std()) - 0.02) < 1e-3
    assert abs(float(made.proj.std()) - 1024**-0.5) < 1e-3
    assert (
        made.ln_q.weight.eq(1).all()
        and made.attn.out_proj.bias is not None
        and made.attn.out_proj.bias.eq(0).all()
    )
    assert abs(float(Abstractor(576, 64, 8, 2, 8, 1, 1).position.std()) - 0.02) < 1e-3


@pytest.mark.parametrize(("reducer", "tokens"), METHODS, ids=IDS)
def test_in_the_model(model: Any, reducer: Learned, tokens: int) -> None:
    """The tokens that the module makes of the features reach the language model; padding and batch do not show."""
    inputs = lab.batch()
    vlm = ReducedVLM(model, reducer)
    assert vlm.host.module is not None
    own: list[int] = []  # tokens that the model's projector still gets
    first = model.model.multi_modal_projector.linear_1
    counting = first.register_forward_pre_hook(lambda _m, args: own.append(args[0].shape[1]))
    got, trace = vlm.generate(inputs, prompt=ASKED, max_new_tokens=3, do_sample=False)
    counting.remove()
    assert [v[0] for v in trace.visual] == [tokens] * 2 and trace.projector == [sum(own)] * 2
    logits = vlm.forward(inputs, prompt=ASKED)[0].logits
    for b in range(2):
        alone = lab.one(inputs, b)
        x = oracle.vit(model, oracle.patches(model, alone["pixel_values"]), 0, lab.SOURCE + 1)[1:]
        visual = vlm.host.module(x[None], model.model.multi_modal_projector, ASKED[b : b + 1])[0]
        prompt, span = lab.prompt_of(model, inputs, b, visual)
        lab.close(logits[b, -1], oracle.masked(model, prompt, span, (), got[b, :1])[0])


@pytest.mark.parametrize(("reducer", "tokens"), METHODS, ids=IDS)
def test_weights_are_kept_and_come_back(model: Any, reducer: Learned, tokens: int, tmp_path: Path) -> None:
    small = ModelShape.from_config(model.config.to_dict())
    first = reducer.module(small)
    weights(first, seed=9)
    save(first, tmp_path / "deep" / "w.pt")
    assert [f.name for f in (tmp_path / "deep").iterdir()] == ["w.pt"]
    again = type(reducer)(**{**vars(reducer), "weights": str(tmp_path / "deep" / "w.pt"), "untrained": False})
    second = again.module(small).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.state_dict().items())
    other = type(reducer)(**{**vars(again), "side": 1})
    with (
        pytest.raises(ValueError, match=r"are of another model: .* is \[")
        if not isinstance(reducer, CAbstractor | LLaMAVID)
        else pytest.raises(ValueError, match="are of another model")
    ):
        other.module(small if not isinstance(reducer, CAbstractor | LLaMAVID) else shape(64))


def test_untrained_weights_are_refused_unless_wanted(model: Any, tmp_path: Path) -> None:
    for kind in (QwenResampler, CAbstractor, LLaMAVID):
        with pytest.raises(ValueError, match="there are no weights; give weights=FILE, or untrained=true"):
            ReducedVLM(model, kind())
    with pytest.raises(ValueError, match="is no file"):
        ReducedVLM(model, QwenResampler(side=2, weights=str(tmp_path / "none.pt")))


def test_random_weights_are_the_same_every_time_and_disturb_no_draw(model: Any) -> None:
    small, state = ModelShape.from_config(model.config.to_dict()), torch.get_rng_state()
    first, second = (QwenResampler(**SMALL, side=2).module(small).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("reducer", "message"),
    [
        (CAbstractor(side=25, **SMALL), r"side=25 must lie in 1\.\.24"),
        (LLaMAVID(side=5, **SMALL), r"side=5 must divide the 24 patches per side: \[1, 2, 3"),
    ],
)
def test_impossible_sides_name_the_range(reducer: Learned, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reducer.sites(llava15_7b())


def test_a_missing_question_is_refused(model: Any) -> None:
    with pytest.raises(ValueError, match="reads the question: 0 prompts were given for 2 pictures"):
        ReducedVLM(model, METHODS[3][0]).generate(
            lab.batch(), ids=["0", "1"], max_new_tokens=1, do_sample=False
        )
