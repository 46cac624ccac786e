"""What printed numbers are: one name for each definition, so that no table can mix two of them.

"POPE" is a mean of three F1 in one paper, an accuracy in another; "MME" a sum over ten sub-tasks, over fourteen,
or a twentieth of the first. A definition names the tasks, the metric and the factor behind a printed number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from prunegrid.tasks.errors import TaskError


@dataclass(frozen=True)
class Definition:
    """A printed number: `factor` * `metric` of one of `tasks`; `split` where the task alone does not say it."""

    name: str
    tasks: tuple[str, ...]
    metric: str
    factor: float
    text: str


def _percent(name: str, task: str, metric: str, text: str) -> Definition:
    return Definition(name, (task,), metric, 100, text)


_ALL = (
    _percent(
        "vqav2_val", "vqav2", "accuracy", "soft accuracy, val2014; its images are in LLaVA-1.5's training mix"
    ),
    Definition(
        "vqav2_testdev", (), "accuracy", 100, "soft accuracy, test-dev, by the challenge server alone"
    ),
    _percent("gqa_testdev", "gqa", "accuracy", "exact match, testdev-balanced"),
    _percent("vizwiz_val", "vizwiz", "accuracy", "soft accuracy, val (4,319)"),
    Definition(
        "vizwiz_test", (), "accuracy", 100, "soft accuracy, test (8,000), by the challenge server alone"
    ),
    _percent("sqa_img", "sqa_img", "img_accuracy", "accuracy on the 2,017 test questions with an image"),
    _percent("sqa_all", "sqa_img", "accuracy", "accuracy on all 4,241 test questions"),
    _percent("textvqa_ocr", "textvqa", "accuracy", "soft accuracy, val, OCR words in the prompt"),
    _percent("textvqa_noocr", "textvqa_noocr", "accuracy", "soft accuracy, val, no OCR words in the prompt"),
    _percent("pope_f1_mean", "pope", "f1", "mean of the F1 of random, popular and adversarial"),
    _percent("pope_f1_pooled", "pope", "f1_pooled", "one F1 over the questions of all three splits"),
    _percent("pope_accuracy_mean", "pope", "accuracy", "mean of the three accuracies"),
    Definition(
        "mme_perception", ("mme",), "perception", 1, "sum of acc and acc+ over ten sub-tasks, of 2,000"
    ),
    Definition("mme_perception_2000", ("mme",), "perception", 1 / 20, "perception as a percentage of 2,000"),
    Definition("mme_cognition", ("mme",), "cognition", 1, "sum of acc and acc+ over four sub-tasks, of 800"),
    Definition("mme_total", ("mme",), "total", 1, "perception + cognition, of 2,800"),
    _percent("mmbench_circular", "mmbench", "circular", "English dev, a question right in all its rotations"),
    _percent("mmbench_rows", "mmbench", "rows", "English dev, every rotation for itself"),
    _percent("mmbench_first", "mmbench", "first", "English dev, the first rotation alone"),
    _percent(
        "mmbench_cn_circular", "mmbench_cn", "circular", "Chinese dev, a question right in all its rotations"
    ),
    _percent("seed_all", "seed", "accuracy", "image and video questions of the file that was answered"),
    Definition("seed_all_19242", ("seed",), "accuracy", 100, "the cut of 19,242 questions"),
    Definition("seed_all_17990", ("seed",), "accuracy", 100, "the cut of 17,990 questions"),
    _percent("seed_image", "seed", "accuracy_image", "the 14,233 image questions (both cuts)"),
    _percent("seed_video", "seed", "accuracy_video", "video questions by one middle frame"),
    _percent(
        "llava_wild", "llava_wild", "score", "points of answers / points of references, mean of judge's runs"
    ),
    _percent("mmvet", "mmvet", "score", "mean judge's score, mean of its runs"),
    Definition(
        "video_judge_accuracy",
        ("msvd_qa", "msrvtt_qa", "activitynet_qa"),
        "judge_accuracy",
        100,
        "share of yes of a chat model; versions of the judge differ by several points",
    ),
    Definition(
        "video_exact_match",
        ("msvd_qa", "msrvtt_qa", "activitynet_qa"),
        "exact_match",
        100,
        "equality of normalised texts, no judge",
    ),
)
DEFINITIONS: Mapping[str, Definition] = MappingProxyType({d.name: d for d in _ALL})
SEED_CUTS: Mapping[int, str] = MappingProxyType({19_242: "seed_all_19242", 17_990: "seed_all_17990"})

# The average of IVTP's tables: the plain mean of twelve printed numbers, MME as a percentage of 2,000.
COMPOSITES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ivtp_average_12": (
            "vqav2_testdev", "gqa_testdev", "vizwiz_test", "sqa_img", "textvqa_ocr", "pope_f1_mean",
            "mme_perception_2000", "mmbench_circular", "mmbench_cn_circular", "seed_all", "llava_wild", "mmvet",
        )
    }
)  # fmt: skip


def definitions(task: str, questions: int) -> list[Definition]:
    """The definitions that a score of `task` over so many questions can be printed as."""
    cuts = {name for size, name in SEED_CUTS.items() if size != questions}
    return [d for d in _ALL if task in d.tasks and d.name not in cuts]


def composite(name: str, values: Mapping[str, float]) -> float:
    """The plain mean of a composite's parts, each as its definition prints it. TaskError if one is not there."""
    if name not in COMPOSITES:
        raise TaskError(f"composite {name!r}: must be one of {', '.join(COMPOSITES)}")
    missing = [part for part in COMPOSITES[name] if part not in values]
    if missing:
        raise TaskError(f"{name}: {', '.join(missing)} missing; another definition does not stand in for it")
    parts: Sequence[float] = [values[part] for part in COMPOSITES[name]]
    return sum(parts) / len(parts)
