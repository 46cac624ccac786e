"""The files: what cannot be used is named, with its place."""

import json
from pathlib import Path

import pytest
from PIL import Image

from prunegrid.tasks import Record, Sample, TaskError, check_images, limit_clusters
from prunegrid.tasks.pope import Pope

TASK = Pope(file="pope.jsonl", prompt="{question}")


def spoil(rows: list[dict], **changes: object) -> list[dict]:
    return [rows[0], {**rows[1], **changes}, *rows[2:]]


def test_samples(write, example) -> None:
    data = write("pope.jsonl", example("pope"))
    first = next(iter(TASK.samples(data)))
    assert first == Sample(
        id="p1",
        cluster="a",
        images=(data / "images/a.png",),
        prompt="Is there a red circle in the image?",
        answer="yes",
        meta={"image": "images/a.png", "split": "random"},
    )


def test_missing_file_lists_what_is_there(write, example) -> None:
    data = write("mme.jsonl", example("mme"))
    with pytest.raises(TaskError, match=r"pope.jsonl: no such file \(the folder holds mme.jsonl\)"):
        list(TASK.samples(data))


@pytest.mark.parametrize("file", ["../pope.jsonl", "a/pope.jsonl", "", "..", "/etc/passwd"])
def test_file_is_a_plain_name(file: str, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="must be the plain name"):
        list(Pope(file=file, prompt="").samples(tmp_path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "p2", ', r"line 2: not JSON \(.*\); starts with '\{\"id\": \"p2\", '"),
        ("[1]", "line 2: a row must be an object, not list"),
        ("{}", "line 2: field 'id' is missing; there are none"),
        ('{"id": "p2", "cluster": "a"}', "line 2: field 'image' is missing; there are id, cluster"),
    ],
)
def test_bad_lines(line: str, message: str, write, example) -> None:
    data = write("pope.jsonl", example("pope"))
    first = (data / "pope.jsonl").read_text().splitlines()[0]
    (data / "pope.jsonl").write_text(f"{first}\n{line}\n")
    with pytest.raises(TaskError, match=message):
        list(TASK.samples(data))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": 7}, "line 2: field 'id' must be str, not 7"),
        ({"image": 7}, "line 2: field 'image' must be str or null, not 7"),
        ({"question": None}, "line 2: field 'question' must be str, not None"),
        ({"id": "p1"}, "line 2: id 'p1' was used before, on line 1"),
        ({"image": "../secret.png"}, r"line 2: image '../secret.png' must be a path inside the data folder"),
        ({"image": "images/../../x.png"}, "must be a path inside the data folder"),
        ({"image": "/etc/x.png"}, "must be a path inside the data folder"),
        ({"image": "..\\x.png"}, "must be a path inside the data folder"),
        ({"image": "C:\\x.png"}, "must be a path inside the data folder"),
        ({"image": ""}, "must be a path inside the data folder"),
    ],
)
def test_bad_fields(changes: dict, message: str, write, example) -> None:
    with pytest.raises(TaskError, match=message):
        list(TASK.samples(write("pope.jsonl", spoil(example("pope"), **changes))))


def test_missing_own_field(write, example) -> None:
    rows = example("pope")
    del rows[2]["split"]
    with pytest.raises(
        TaskError, match="line 3: field 'split' is missing; there are id, cluster, image, question"
    ):
        list(TASK.samples(write("pope.jsonl", rows)))


def test_empty_and_mistaken_encodings(tmp_path: Path) -> None:
    (tmp_path / "pope.jsonl").write_bytes(b"\n\n")
    with pytest.raises(TaskError, match="no rows"):
        list(TASK.samples(tmp_path))
    (tmp_path / "pope.jsonl").write_bytes('{"id": "é"}'.encode("latin-1"))
    with pytest.raises(TaskError, match="not UTF-8 at byte 8"):
        list(TASK.samples(tmp_path))


def test_line_separators_inside_a_string_end_no_row(write, example) -> None:
    rows = spoil(example("pope"), question="one\u2028two\x85three")
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    data = write("pope.jsonl", [])
    (data / "pope.jsonl").write_text(text, encoding="utf-8")
    assert [sample.prompt for sample in TASK.samples(data)][1] == "one\u2028two\x85three"


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{questoin}", r"prompt wants \{questoin\}; there are answer, cluster, id, image, question, split"),
        ("{question.__class__}", "must be the plain name of a field"),
        ("{question[0]}", "must be the plain name of a field"),
        ("{question!r}", "must be the plain name of a field"),
        ("{}", "must be the plain name of a field"),
        ("{question", "expected '}'"),
    ],
)
def test_prompt_template(prompt: str, message: str, write, example) -> None:
    with pytest.raises(TaskError, match=message):
        list(Pope(file="pope.jsonl", prompt=prompt).samples(write("pope.jsonl", example("pope"))))


def test_braces_in_a_question_are_text(write, example) -> None:
    data = write("pope.jsonl", spoil(example("pope"), question="{answer} {{x}}"))
    assert [sample.prompt for sample in TASK.samples(data)][1] == "{answer} {{x}}"


def test_config() -> None:
    config = {
        "_target_": "x",
        "name": "n",
        "data": "d",
        "limit": 3,
        "max_new_tokens": 4,
        "file": "f",
        "prompt": "p",
    }
    assert Pope.from_config(config) == Pope(file="f", prompt="p")
    with pytest.raises(TaskError, match="Pope: unknown option promt; there are file, prompt"):
        Pope.from_config({"file": "f", "promt": "p"})
    with pytest.raises(TaskError, match="Pope: option prompt is missing"):
        Pope.from_config({"file": "f"})


def test_records_survive_json() -> None:
    record = Record("1", "a", "né\n", ["x"], {"k": 1})
    assert Record.from_json(record.to_json()) == record and "\n" not in record.to_json()
    assert Record.from_dict({**record.to_dict(), "new_tokens": 3}) == record
    with pytest.raises(TaskError, match="record '1': text, answer, meta missing; there are id, cluster"):
        Record.from_dict({"id": "1", "cluster": "a"})
    with pytest.raises(ValueError, match="not JSON compliant"):
        Record("1", "a", "x", float("nan"), {}).to_json()


def test_judging_refuses_what_is_no_answer() -> None:
    with pytest.raises(TaskError, match="record '1': text must be a string, not None"):
        TASK.judge(Record("1", "a", None, "yes", {"split": "random"}), "official")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="mode 'lenient'"):
        TASK.judge(Record("1", "a", "yes", "yes", {"split": "random"}), "lenient")  # type: ignore[arg-type]


def test_counting_refuses_nothing_and_duplicates() -> None:
    with pytest.raises(TaskError, match="no judged record"):
        TASK.counts([])
    row = TASK.judge(Record("1", "a", "yes", "yes", {"split": "random"}), "official")
    with pytest.raises(TaskError, match="id '1' was judged twice"):
        TASK.counts([row, row])


def test_limit_takes_the_first_whole_clusters() -> None:
    samples = [Sample(f"{i}", cluster, (), "", "") for i, cluster in enumerate("aabbbca")]
    assert [sample.id for sample in limit_clusters(samples, 4)] == [
        "0",
        "1",
        "6",
    ]  # b does not fit, c comes later
    assert [sample.id for sample in limit_clusters(samples, 1)] == ["0", "1", "6"]
    assert limit_clusters(samples, 7) == limit_clusters(samples, None) == samples


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("good.png", "cut.png", "good.jpg", "cut.jpg"):
        Image.effect_noise((64, 64), 50).save(tmp_path / name)
    for name in ("cut.png", "cut.jpg"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    return tmp_path


def pointing(folder: Path, *names: str) -> list[Sample]:
    return [Sample(f"s{i}", "c", (folder / name,), "", "") for i, name in enumerate(names)]


def test_good_images_are_counted_once(pictures: Path) -> None:
    samples = [*pointing(pictures, "good.png", "good.jpg", "good.png"), Sample("t", "c", (), "", "")]
    assert check_images(samples) == 2


@pytest.mark.parametrize("name", ["cut.png", "text.png", "empty.png", "none.png"])
def test_bad_image_is_named(name: str, pictures: Path) -> None:
    with pytest.raises(TaskError, match=rf"1 of 2 images cannot be used:\n  .*{name} \(sample s1\): no"):
        check_images(pointing(pictures, "good.png", name))


def test_a_jpeg_that_was_cut_needs_decoding(pictures: Path) -> None:
    with pytest.raises(TaskError, match=r"cut.jpg \(sample s0\): not readable"):
        check_images(pointing(pictures, "cut.jpg"), decode=True)


def test_many_bad_images_are_counted(pictures: Path) -> None:
    with pytest.raises(TaskError, match=r"8 of 8 images .*(\n.*){5}\n  and 3 more$"):
        check_images(pointing(pictures, *(f"{i}.png" for i in range(8))))
