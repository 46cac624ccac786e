"""Which LLM tokens speak of the picture: spans of two tokenizers laid over each other, against search by substring."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from prunegrid.reduce import PromptText, ReducedVLM
from prunegrid.reduce.methods.ivtp import IVTP
from prunegrid.reduce.methods.keywords import KeyTokens, asked, bare, members, overlap, relevance
from prunegrid.reduce.methods.pseudo_cls import Selection
from prunegrid.reduce.text import ClipText
from reduce import clip
from reduce.lab import IMAGE, Inputs
from reference import ivtp as reference

Model = LlavaForConditionalGeneration
# As SentencePiece and CLIP's byte pairs cut it: (LLM pieces, CLIP pieces) of one text.
TEXT = "\nIs the  unbelievably Red\nsquare left of it?"
LLM = [
    "\n",
    "Is",
    " the",
    " ",
    " un",
    "bel",
    "iev",
    "ably",
    " Red",
    "\n",
    "square",
    " left",
    " of",
    " it",
    "?",
]
CLIP = [
    "is</w>",
    "the</w>",
    "unbelievab",
    "ly</w>",
    "red</w>",
    "squ",
    "are</w>",
    "left</w>",
    "of</w>",
    "it</w>",
    "?",
]


def llm_spans() -> tuple[tuple[int, int], ...]:
    spans, at = [], 0
    for piece in LLM:
        assert TEXT.startswith(piece, at), piece
        spans.append((at, at + len(piece)))
        at += len(piece)
    assert at == len(TEXT)
    return tuple(spans)


def clip_spans() -> tuple[tuple[int, int], ...]:
    """In the text as written, as a fast tokenizer says."""
    return tuple(reference.locate(CLIP, TEXT.lower().replace("\n", " ")))


def test_alignment_is_the_search_by_substring() -> None:
    """METHODS' rule on the normalised string; several CLIP tokens on one LLM token and the other way round."""
    normal, place = reference.normalise(TEXT)
    ours = [(place[a], [*place, len(normal)][b]) for a, b in llm_spans()]
    want = reference.align(ours, reference.locate(CLIP, normal))
    shared = overlap([bare(TEXT, s) for s in llm_spans()], [bare(TEXT, s) for s in clip_spans()])
    assert [row.nonzero().squeeze(1).tolist() for row in shared] == want
    assert want[0] == want[3] == want[9] == [], "white space is aligned with nothing"
    assert want[10] == [5, 6] and want[7] == [2, 3], "K + 1 tokens"


def test_white_space_joins_no_tokens() -> None:
    """Also where the other tokenizer's pieces carry the space before them, as this one's do."""
    assert bare(TEXT, (0, 1)) == (1, 1) and bare("of  the ", (2, 8)) == (4, 7)
    spaced = [(a - TEXT[a - 1].isspace(), b) for a, b in clip_spans()]
    assert spaced != list(clip_spans())
    tokens, image = torch.randn(len(CLIP), 8, generator=torch.Generator().manual_seed(3)), torch.ones(8)
    prompt = PromptText(TEXT, llm_spans())
    got, want = (
        relevance(prompt, "all", ClipText(tokens, tuple(spans), tokens[:1]), image)
        for spans in (spaced, clip_spans())
    )
    assert torch.equal(got, want)


@pytest.mark.parametrize("scope", ["turn", "all"])
def test_relevance_is_the_mean_over_aligned_tokens(scope: Any) -> None:
    g = torch.Generator().manual_seed(1)
    before = "Look: "
    spans = ((0, 0), (0, 5), *((a + 6, b + 6) for a, b in llm_spans()))
    prompt = PromptText(before + TEXT, spans, (6, 6 + len(TEXT)))
    theirs = clip_spans() if scope == "turn" else ((0, 4), (4, 5), *((a + 6, b + 6) for a, b in clip_spans()))
    tokens, image = torch.randn(len(theirs), 8, generator=g), torch.randn(8, generator=g)
    got = relevance(prompt, scope, ClipText(tokens, theirs, tokens[:1]), image)
    own = [[m for m, (a, b) in enumerate(clip_spans()) if (a, b) and _meets(s, (a, b))] for s in llm_spans()]
    shift = 0 if scope == "turn" else 2
    aligned = [[], [] if scope == "turn" else [0, 1], *([m + shift for m in row] for row in own)]
    want = reference.similarity(image, tokens, aligned)
    torch.testing.assert_close(got, torch.tensor(want))


def _meets(span: tuple[int, int], other: tuple[int, int]) -> bool:
    return any(not TEXT[i].isspace() and other[0] <= i < other[1] for i in range(*span))


def test_scopes() -> None:
    prompt = PromptText("abc def", ((0, 3), (3, 7)), (4, 7))
    assert asked(prompt, "turn") == (4, 7) and asked(prompt, "all") == (0, 7)
    assert asked(PromptText("abc"), "turn") == (0, 3)
    seen: Any = SimpleNamespace(valid=torch.ones(1, 3).bool(), visual=torch.zeros(1, 3).bool())
    seen.prompt = [PromptText("ab cd ef", ((0, 2), (2, 5), (5, 8)), (3, 8))]
    assert members(seen, "turn", "X").tolist() == [[False, True, True]]
    assert members(seen, "all", "X").tolist() == [[True, True, True]]


def test_the_threshold_itself_is_enough_and_only_the_scope_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Any = SimpleNamespace(valid=torch.ones(1, 4).bool(), visual=torch.zeros(1, 4).bool())
    seen.prompt = [PromptText("ab cd ef gh", ((0, 2), (2, 5), (5, 8), (8, 11)), (3, 11))]
    said = torch.tensor([[0.9, 0.5, 0.4999, 0.5001]])
    monkeypatch.setattr(Selection, "_relevance", lambda *_: said)
    found = Selection(tau=0.5).choose(seen, None)
    assert found.chosen.tolist() == [[False, True, False, True]]
    assert found.share.tolist() == [pytest.approx(2 / 3)] and found.words() == [["cd", "gh"]]


def test_the_pseudo_cls_starts_as_the_mean_of_the_chosen_tokens() -> None:
    """Text stands around the picture; the second sample is shorter, and nothing of it was chosen."""
    tokens = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(2))
    visual = torch.tensor([[False, True, True, False, False, False]] * 2)
    valid = torch.tensor([[True] * 6, [True] * 5 + [False]])
    seen: Any = SimpleNamespace(tokens=tokens, valid=valid, visual=visual)
    chosen = torch.tensor([[False, True, False, True], [False] * 4])
    got = KeyTokens([], chosen, torch.zeros(2)).mean(seen)
    torch.testing.assert_close(got, torch.stack([(tokens[0, 3] + tokens[0, 5]) / 2, torch.zeros(4)]))


def test_prompts_that_do_not_fit_are_refused(model: Model, inputs: Inputs) -> None:
    reducer, told = IVTP(5, group=2, layers=2), clip.told(inputs, IMAGE)
    vlm = ReducedVLM(model, reducer, text=clip.tower(model))
    with pytest.raises(ValueError, match="none were given"):
        vlm.generate(inputs, max_new_tokens=1, do_sample=False)
    with pytest.raises(ValueError, match="1 prompt texts were given for 2 samples"):
        vlm.generate(inputs, prompt=told[:1], max_new_tokens=1, do_sample=False)
    cut = [told[0], replace(told[1], spans=told[1].spans[:2])]
    with pytest.raises(ValueError, match="prompt 1 does not say where"):
        vlm.generate(inputs, prompt=[told[0], replace(told[1], spans=())], max_new_tokens=1, do_sample=False)
    with pytest.raises(ValueError, match="prompt 1 has 9 text tokens, but its PromptText has 2"):
        vlm.generate(inputs, prompt=cut, max_new_tokens=1, do_sample=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"te": True, "rt": False}, "rt must be on with it"),
        ({"ott": False, "te": False}, "ott must be on with it"),
        ({"tau": 2.0}, r"must lie in \[-1, 1\]"),
        ({"text": "some"}, "must be 'turn'"),
        ({"stages": "first", "middle": 8}, "between two stages"),
        ({"pseudo": "other"}, "must be 'carried' or 'rebuilt'"),
        ({"positions": "shift"}, "must be 'keep' or 'renumber'"),
        ({"stages": "third"}, "must be 'both'"),
    ],
)
def test_impossible_switches_are_refused_at_once(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        IVTP(5, **options)


def test_layers_and_middle_must_fit_the_model(model: Model, inputs: Inputs) -> None:
    for options, message in (
        ({"layers": 4}, r"must lie in 1\.\.3"),
        ({"layers": 2, "middle": 3}, r"lie in 5\.\.16"),
    ):
        with pytest.raises(ValueError, match=message):
            reducer = IVTP(5, group=2, **options)  # type: ignore[arg-type]
            ReducedVLM(model, reducer, text=clip.tower(model)).generate(
                inputs, prompt=clip.told(inputs, IMAGE)
            )
