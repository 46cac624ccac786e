"""The question under the picture: the right words stand out, in bold, underlined, and nothing is lost or cut."""

import numpy as np

from prunegrid.report.question import emphasised, strip


def marked(question: str, *words: str) -> list[str]:
    return [piece for piece, mark in emphasised(question, words) if mark]


def test_words_are_found_in_their_order() -> None:
    question = "what color is the circle beside the red circle?"
    assert marked(question, "circle", "red") == ["circle", "red"]
    assert emphasised(question, ["circle"])[0] == ("what color is the ", False)  # the first of the two
    assert "".join(piece for piece, _ in emphasised(question, ["circle", "red"])) == question


def test_parts_of_words_and_other_case_are_found() -> None:
    assert marked("Which TRIANGLE?", "tri", "angle") == ["TRIANGLE"]


def test_what_is_not_in_the_question_is_passed_over() -> None:
    assert marked("what is red?", "USER", "red", "") == ["red"]
    assert marked("", "red") == []


def test_emphasis_is_ink_not_colour() -> None:
    plain, bold = (strip("is it red?", words, 200).astype(int) for words in ([], ["red"]))
    assert plain.shape == bold.shape
    assert (255 - bold).sum() > 1.1 * (255 - plain).sum()
    for pixels in (plain, bold):
        assert np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(
            pixels[..., 1], pixels[..., 2]
        )
    rows = (bold < 60).all(axis=2).sum(axis=1)
    assert rows.max() > 20  # the line below the word


def test_long_questions_wrap_and_are_not_cut() -> None:
    short, long = strip("red?", [], 200), strip("is there a red circle " * 6, [], 200)
    assert long.shape[0] > 3 * short.shape[0] and long.shape[1] == 200
    assert (long[:, -2:] == 255).all()
