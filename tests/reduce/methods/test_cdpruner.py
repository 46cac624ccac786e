"""CDPruner against determinants of whole blocks, on heavy-tailed features and in the tiny LLaVA."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import Place, PromptText, Site, TokenView
from prunegrid.reduce.methods.cdpruner import CDPruner, Run, greedy
from prunegrid.reduce.text import ClipText
from reduce import clip, made, oracle
from reduce.lab import IMAGE, PATCHES, Inputs, answer, batch, close, even, one, prompt_of
from reference import cdpruner as reference
from reference import inputs as synthetic

pytestmark = pytest.mark.usefixtures("no_grad")
Model = LlavaForConditionalGeneration
FOUR = batch((3, 7, 5, 2), 3, (2, 1, 4, 3))


class Words:
    """A tower whose joint space the features already lie in; texts are numbers of made vectors."""

    def __init__(self, texts: list[Tensor]) -> None:
        self.texts = texts

    def image(self, hidden: Tensor) -> Tensor:
        return hidden.float()

    def read(self, texts: list[str]) -> list[ClipText]:
        return [ClipText(torch.zeros(0, 8), (), self.texts[int(t)].float()) for t in texts]


def view(tokens: Tensor, counts: list[int]) -> TokenView:
    valid = torch.arange(tokens.shape[1]) < torch.tensor(counts)[:, None]
    some: Any = torch.zeros(valid.shape)
    ids = [str(b) for b in range(len(counts))]
    prompt = [PromptText(key) for key in ids]
    return TokenView(tokens, valid, valid, some, some, some, tokens[:, :0], ids, prompt=prompt)


def pictures(counts: list[int], width: int, windows: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Per sample: projected [N, 3 width], features [N, width] in noisy clusters, heavy-tailed lengths, texts."""
    found = []
    for b, n in enumerate(counts):
        g = torch.Generator().manual_seed(40 + b)
        x = synthetic.image(n, width, max(1, n // 8), seed=b).x
        loud = torch.rand(n, 1, generator=g, dtype=torch.float64).clamp_min(0.02) ** -0.7
        mixed = torch.randn(width, 3 * width, generator=g, dtype=torch.float64)
        texts = torch.randn(windows, width, generator=g, dtype=torch.float64)
        found.append(((x + x.sin()) @ mixed * loud, x * loud, texts))
    return found


def padded(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([r.float() for r in rows], batch_first=True, padding_value=9.0)


@pytest.mark.parametrize(
    ("counts", "keep", "windows"),
    [([36], 9, 1), ([144], 6, 1), ([64, 64, 64, 64], 7, 3), ([25, 49, 16, 30], 8, 2), ([576], 3, 1)],
    ids=str,
)
def test_it_selects_as_determinants_do(counts: list[int], keep: int, windows: int) -> None:
    samples = pictures(counts, 16, windows)
    state = Run(Words([texts for *_, texts in samples]))  # type: ignore[arg-type]
    reducer = CDPruner(keep)
    assert (
        reducer.reduce(Site(Place.FEATURES), view(padded([f for _, f, _ in samples]), counts), state) is None
    )
    r = reducer.reduce(Site(Place.EMBEDS), view(padded([p for p, *_ in samples]), counts), state)
    for b, got in enumerate(made.kept(r)):
        assert got == reference.cdpruner(*samples[b], keep)


def test_relevance_is_of_the_sample_or_as_released_of_the_batch() -> None:
    counts = [30, 20]
    samples = pictures(counts, 16, 1)
    tower: Any = Words([texts for *_, texts in samples])
    seen = view(padded([f for _, f, _ in samples]), counts)
    raw = [reference.against(features, texts) for _, features, texts in samples]
    everything = [x for row in raw for x in row]
    for extent in ("sample", "batch"):
        got = CDPruner(5, extent=extent).relevance(seen, tower)  # type: ignore[arg-type]
        for b, row in enumerate(raw):
            over = row if extent == "sample" else everything
            want = torch.tensor(reference.relevance(row, min(over), max(over)))
            torch.testing.assert_close(got[b, : counts[b]], want, rtol=1e-4, atol=1e-5)


def test_a_kernel_whose_rank_is_used_up_gives_no_token_twice() -> None:
    x = torch.randn(2, 20, 4, generator=torch.Generator().manual_seed(0))
    picks = greedy(x @ x.transpose(1, 2), torch.ones(2, 20, dtype=torch.bool), 20)
    assert picks.sort(1).values.tolist() == [list(range(20))] * 2
    for b in range(2):
        assert picks[b, :4].tolist() == reference.greedy((x[b] @ x[b].T).double(), 4)


@pytest.mark.parametrize("inputs", [one(batch(), 1), even(), FOUR], ids=["1", "even", "4"])
def test_the_model_end_to_end(model: Model, inputs: Inputs) -> None:
    got, prompts, raw = answer(model, CDPruner(5), inputs, 3), clip.told(inputs, IMAGE), clip.raw(model)
    for b, prompt in enumerate(prompts):
        pixels = inputs["pixel_values"][b : b + 1]
        x = oracle.vit(model, oracle.patches(model, pixels), 0, 3)[1:]
        ids = clip.tokenizer()(prompt.text[slice(*prompt.said)], add_special_tokens=False)["input_ids"]
        texts = raw.get_text_features(input_ids=torch.tensor([[clip.BEGIN, *ids, clip.END]])).pooler_output
        joint = raw.visual_projection(raw.vision_model.post_layernorm(x))
        keep = reference.cdpruner(oracle.project(model, x), joint, texts, 5)
        assert got.trace.kept["embeds"][b] == keep
        assert got.trace.projector[b] == PATCHES, "all patches are projected"
        embedded, _ = prompt_of(model, inputs, b, oracle.project(model, x[keep]))
        close(got.logits[b], oracle.plain(model, embedded, got.tokens[b]))


def test_other_words_keep_other_tokens(model: Model, inputs: Inputs) -> None:
    asked = answer(model, CDPruner(5), inputs, 1).trace.kept["embeds"]
    whole = answer(model, CDPruner(5, text="all"), inputs, 1).trace.kept["embeds"]
    assert asked != whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "at least 1 token"),
        ({"keep": 17}, "more than the 16 tokens"),
        ({"text": "some"}, "must be 'turn'"),
        ({"extent": "all"}, "must be 'sample' or 'batch'"),
    ],
)
def test_impossible_settings_name_the_range(model: Model, inputs: Inputs, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        answer(model, CDPruner(**({"keep": 5} | options)), inputs, 1)


def test_prompts_must_be_told() -> None:
    silent = SimpleNamespace(prompt=(), tokens=torch.zeros(1, 4, 8))
    with pytest.raises(ValueError, match="none were given"):
        CDPruner(2).relevance(silent, None)  # type: ignore[arg-type]
