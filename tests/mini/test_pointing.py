"""Words look at what they name: which patches those are, and that a head's look is measured as the model attends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from prunegrid.mini.batches import COLOR, DIGIT, KINDS, PATCHES, SHAPE, Batches, turn_mask
from prunegrid.mini.language import IMAGE, words
from prunegrid.mini.losses import Looking, language_loss
from prunegrid.mini.model import build
from prunegrid.mini.pointing import asked_patches, digit_patches, joined_digits, named_patches, word_table
from prunegrid.mini.scenes import COLORS, SHAPES


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return Batches(3, "language", 4, questions=16).batch(3200)


def named_slowly(batch: dict[str, Tensor], b: int, i: int) -> set[int]:
    word = words()[int(batch["ids"][b, i])].strip()
    if batch["turn"][b, i] <= 0 or batch["targets"][b, i] != -100:
        return set()
    found = set()
    for n, row in enumerate(batch["labels"][b].tolist()):
        color, shape = list(COLORS)[row[COLOR] - 1], SHAPES[row[SHAPE] - 1]
        if (row[COLOR] and color == word) or (row[SHAPE] and shape == word):
            found.add(n)
    return found


def test_a_word_names_the_patches_that_show_it(batch: dict[str, Tensor]) -> None:
    named, some = named_patches(batch, word_table()), 0
    for b, i in [(b, i) for b in range(4) for i in range(batch["ids"].shape[1])]:
        expected = named_slowly(batch, b, i)
        assert set(named[b, i].nonzero().flatten().tolist()) == expected
        some += bool(expected)
    assert some > 20


def test_the_second_digit_of_a_number_in_a_question_is_joined_to_its_first(batch: dict[str, Tensor]) -> None:
    joined, seen = joined_digits(batch), 0
    for b in range(4):
        said = [words()[int(w)] for w in batch["ids"][b]]
        for i in range(1, len(said)):
            asking = batch["turn"][b, i] > 0 and batch["targets"][b, i] == -100
            second = bool(asking) and said[i].isdigit() and said[i - 1].isdigit()
            assert int(joined[b, i]) == (i - 1 if second else -1)
            seen += second
    assert seen > 3


def test_digits_of_a_number_name_the_patches_that_show_them_and_a_count_names_nothing(
    batch: dict[str, Tensor],
) -> None:
    shown, joined, seen = digit_patches(batch, word_table()), joined_digits(batch), set()
    for b in range(4):
        firsts = {int(k) for k in joined[b]} - {-1}
        for i in range(joined.shape[1]):
            word, written = words()[int(batch["ids"][b, i])], i in firsts or int(joined[b, i]) >= 0
            digits = batch["labels"][b, :, DIGIT].tolist()
            expected = [n for n, d in enumerate(digits) if written and d and str(d - 1) == word]
            assert shown[b, i].nonzero().flatten().tolist() == expected
            seen.add((written, bool(expected), word.isdigit()))
    assert {(True, True, True), (True, False, True), (False, False, True)} <= seen


def test_an_answer_is_about_what_all_words_of_its_question_name(batch: dict[str, Tensor]) -> None:
    asked = asked_patches(batch, named_patches(batch, word_table()))
    names = {f" {w}" for w in (*COLORS, *SHAPES)}
    seen = set()
    for b in range(4):
        for turn in range(1, int(batch["turn"][b].max()) + 1):
            mine = (batch["turn"][b] == turn).nonzero().flatten().tolist()
            question = [i for i in mine if batch["targets"][b, i] == -100]
            lines = [i for i in question if words()[int(batch["ids"][b, i])] == "\n"]
            asking = [i for i in question if not lines or i < lines[0]]
            naming = [i for i in asking if words()[int(batch["ids"][b, i])] in names]
            kind = KINDS[int(batch["kind"][b, question[-1] + 1])]
            expected = set.intersection(*(named_slowly(batch, b, i) for i in naming)) if naming else set()
            assert set(asked[b, question[-1]].nonzero().flatten().tolist()) == expected
            assert not asked[b, [i for i in mine if i != question[-1]]].any()
            seen.add((kind, bool(expected)))
    assert {("pope", True), ("pope", False), ("choice", True)} <= seen


def test_a_look_is_the_models_own_attention(batch: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    _, llava = build()
    model: Any = llava.model.language_model
    for weight in model.parameters():
        weight.data.mul_(4 if weight.dim() > 1 else 1)
    model.set_attn_implementation("eager")
    look = Looking(model.layers[1].self_attn)
    with look, torch.no_grad():
        out = model(
            input_ids=batch["ids"],
            attention_mask=turn_mask(batch["turn"]),
            position_ids=batch["positions"],
            output_attentions=True,
            use_cache=False,
        )
    visual = batch["ids"] == words().index(IMAGE)
    rows = torch.tensor([[170, 175, 200]] * 4)
    whole = out.attentions[1].gather(2, rows[:, None, :, None].expand(-1, 4, -1, batch["ids"].shape[1]))
    whole = whole * visual[:, None, None]
    torch.testing.assert_close(
        look.attention(rows, visual[:, None]), whole / whole.sum(-1, keepdim=True), rtol=1e-4, atol=1e-6
    )


def test_a_letter_is_found_behind_the_right_option(batch: dict[str, Tensor]) -> None:
    said = 0
    for b, i in batch["option"].ge(0).nonzero().tolist():
        letter = words()[int(batch["targets"][b, i + 1])].strip()
        turn = [k for k in range(batch["ids"].shape[1]) if batch["turn"][b, k] == batch["turn"][b, i]]
        text = "".join(words()[int(batch["ids"][b, k])] for k in turn if k <= int(batch["option"][b, i]))
        assert text.split("\n")[-1].startswith(f"{letter}. ")
        after = words()[int(batch["ids"][b, int(batch["option"][b, i]) + 1])]
        assert after in ("\n", " ASSISTANT")
        said += 1
        place = int(batch["letter"][b, int(batch["option"][b, i])])
        assert words()[int(batch["ids"][b, place])] == letter
    assert said == int((batch["kind"] == KINDS.index("choice")).sum())
    lines = (batch["ids"] == words().index("\n")) & (batch["turn"] > 0)
    assert int(batch["letter"].ge(0).sum()) == int(lines.sum())  # a line per option


class Fixed(Looking):
    """Attention among four patches, per head, the same for every row."""

    def __init__(self, heads: list[list[float]]) -> None:
        super().__init__(None)
        self.heads = torch.tensor(heads)

    def attention(self, rows: Tensor, seen: Tensor) -> Tensor:
        return self.heads[None, :, None].expand(len(rows), -1, rows.shape[1], -1).contiguous()


def test_heads_that_look_everywhere_do_not_point() -> None:
    wanted = torch.zeros(1, 6, 4, dtype=torch.bool)
    wanted[0, 2, :2] = True
    everywhere = Fixed([[0.25] * 4] * 8).loss(torch.ones(1, 4, dtype=torch.bool), wanted)
    one_points = Fixed([[0.5, 0.5, 0, 0], *[[0, 0, 0.5, 0.5]] * 7]).loss(
        torch.ones(1, 4, dtype=torch.bool), wanted
    )
    assert everywhere == pytest.approx(-torch.tensor(0.5).log().item())
    assert one_points == pytest.approx(0, abs=1e-5)
    assert Fixed([[1.0, 0, 0, 0]]).loss(torch.ones(1, 4, dtype=torch.bool), wanted & False) == 0


def test_heads_that_each_look_at_an_option_of_their_own_do_not_find_it() -> None:
    turn, option = torch.ones(1, 4, dtype=torch.long), torch.tensor([[-1, -1, 0, 1]])
    assert Fixed([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]).found(option, turn) > 5
    assert Fixed([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]).found(option.clamp_max(0), turn) == pytest.approx(
        0, abs=1e-5
    )
    assert Fixed([[1.0, 0, 0, 0]]).found(torch.full((1, 4), -1), turn) == 0


def test_nothing_stays_on_the_model(batch: dict[str, Tensor]) -> None:
    torch.manual_seed(0)
    _, llava = build()
    before = sum(len(m._forward_pre_hooks) for m in llava.modules())
    _, log = language_loss(llava, batch, word_table())
    assert sum(len(m._forward_pre_hooks) for m in llava.modules()) == before
    assert {"said", "align", "point", "pope", "choice"} <= set(log)
    assert batch["labels"].shape[1] == PATCHES
