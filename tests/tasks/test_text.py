"""Answer normalisation against the vectors that the original code gives (EVAL 1.2)."""

import pytest

from prunegrid.tasks.contractions import CONTRACTIONS
from prunegrid.tasks.soft import agreement, normalised
from prunegrid.tasks.text import m4c, periods, punctuation, vqa_official

GOLDEN = {
    "The Dog.": "dog",
    "a man's hat": "man 's hat",
    "None": "0",
    "10,000": "10000",
    "3.5": "3.5",
    "5.": "5",
    "black/white": "black white",
    "black / white": "black white",
    "dont": "don't",
    "isnt it": "isn't it",
    "one hundred": "1 hundred",
    "  New   York\n": "new york",
    "U.S.A.": "usa",
    "p.m.": "pm",
    "a.b. c.d": "ab cd",
    "11:30 am": "11:30 am",
    "$5.99": "$5.99",
    "50%": "50%",
    "#1": "#1",
    "t-shirt": "t shirt",
    "t - shirt": "t shirt",
    "5, 6": "5 6",
    "the": "",
    "2 & 3": "2 & 3",
}


@pytest.mark.parametrize(("text", "expected"), GOLDEN.items())
def test_m4c_golden_vectors(text: str, expected: str) -> None:
    assert m4c(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("man's hat", "man's hat"),  # no space before 's
        ("10,000-20,000", "1000020000"),  # a comma between digits deletes every mark
        ("red,blue", "red blue"),  # no comma between digits: a space in its place
        ("Is it?", "is it"),
        ("U.S.A.", "usa"),
        ("The Dog.", "dog"),
    ],
)
def test_vqa_toolkit_differs_from_m4c_only_by_its_first_step(text: str, expected: str) -> None:
    assert vqa_official(text) == expected


def test_m4c_has_no_comma_left_to_delete_marks_by() -> None:
    assert m4c("10,000-20,000") == "10000 20000"


def test_a_mark_is_deleted_everywhere_if_it_touches_a_space_anywhere() -> None:
    assert punctuation("t-shirt - blue") == "tshirt  blue"
    assert punctuation("t-shirt / blue") == "t shirt  blue"


def test_whether_a_mark_touches_a_space_is_asked_of_the_text_as_it_came() -> None:
    assert m4c("x-;y-z") == "x y z"  # the space that ; leaves behind does not delete the hyphens


def test_at_most_32_periods_are_removed() -> None:
    assert periods("a." * 33) == "a" * 33 + "."
    assert periods("1.5.") == "1.5"


def test_contraction_map_is_that_of_the_toolkit() -> None:
    assert len(CONTRACTIONS) == 114  # about 120 in the original, six of which can never apply
    assert {
        k: CONTRACTIONS[k] for k in ("shouldnt've", "shouldn'tve", "wed've", "we'dve", "oclock", "yall")
    } == {
        "shouldnt've": "shouldn't've",
        "shouldn'tve": "shouldn't've",
        "wed've": "we'd've",
        "we'dve": "we'd've",
        "oclock": "o'clock",
        "yall": "y'all",
    }
    assert CONTRACTIONS["somebody'd"] == "somebodyd"
    for word in ("im", "ive", "ill", "well", "were", "wed", "shed", "hell", "lets", "shes", "id"):
        assert word not in CONTRACTIONS, word


@pytest.mark.parametrize(("agreeing", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_soft_accuracy_of_k_agreeing_answers(agreeing: int, score: float) -> None:
    references = ["yes"] * agreeing + [f"other {i}" for i in range(10 - agreeing)]
    assert agreement("yes", references) == pytest.approx(score, abs=1e-12)


def test_soft_accuracy_golden_examples() -> None:
    assert agreement(*normalised("2", ["two"] * 5 + ["2"] + ["three"] * 4, "m4c")) == pytest.approx(1)
    references = ["dog", "Dog.", "a dog"] + ["cat"] * 7
    assert agreement(*normalised("The dog", references, "m4c")) == pytest.approx(0.9)


def test_toolkit_compares_raw_texts_where_all_references_agree() -> None:
    assert agreement(*normalised("Yes", ["yes"] * 10, "vqa_official")) == 0
    assert agreement(*normalised("yes\n", ["yes"] * 10, "vqa_official")) == 1
    assert agreement(*normalised("Yes", ["yes"] * 9 + ["no"], "vqa_official")) == 1
    assert agreement(*normalised("Yes", ["yes"] * 10, "m4c")) == 1
