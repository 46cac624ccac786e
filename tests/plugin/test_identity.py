"""Names and fingerprints of jobs."""

import os
from types import SimpleNamespace

from snakemake_executor_plugin_submitit.identity import array_name, identify, short_name


class Params(list):
    """Like Snakemake's named list: positional and named values."""

    def __init__(self, **named):
        super().__init__(named.values())
        self._named = named

    def items(self):
        return self._named.items()


def job(rule="predict", output=("out.json",), inputs=("in.txt",), params=None, shell="run", **wildcards):
    return SimpleNamespace(
        name=rule,
        rule=SimpleNamespace(name=rule, shellcmd=shell, script=None),
        wildcards_dict=wildcards,
        output=list(output),
        input=list(inputs),
        params=Params(**(params or {})),
        is_group=lambda: False,
    )


def group(*jobs):
    return SimpleNamespace(
        name="g_" + "_".join(sorted(j.name for j in jobs)), jobs=list(jobs), is_group=lambda: True
    )


def test_same_job_same_identity(tmp_path):
    (tmp_path / "in.txt").write_text("a")
    assert identify(job(seed="1"), tmp_path) == identify(job(seed="1"), tmp_path)


def test_the_key_depends_on_the_outputs_alone(tmp_path):
    base = identify(job(), tmp_path)
    assert identify(job(params={"rate": 2}, shell="other", inputs=()), tmp_path).key == base.key
    assert identify(job(output=["else.json"]), tmp_path).key != base.key
    assert (
        identify(job(output=[], seed="1"), tmp_path).key != identify(job(output=[], seed="2"), tmp_path).key
    )


def test_the_work_changes_with_parameters_code_and_inputs(tmp_path):
    path = tmp_path / "in.txt"
    path.write_text("a")
    base = identify(job(params={"rate": 1}), tmp_path).work
    assert identify(job(params={"rate": 2}), tmp_path).work != base
    assert identify(job(params={"rate": 1}, shell="run --fast"), tmp_path).work != base
    os.utime(path, (1, 1))
    assert identify(job(params={"rate": 1}), tmp_path).work != base
    path.unlink()
    assert identify(job(params={"rate": 1}), tmp_path).work != base


def test_groups_do_not_depend_on_the_order_of_their_jobs(tmp_path):
    a, b = job("a", ["a.out"]), job("b", ["b.out"])
    assert identify(group(a, b), tmp_path) == identify(group(b, a), tmp_path)
    assert identify(group(a, b), tmp_path).key != identify(a, tmp_path).key


def test_readable_names(tmp_path):
    found = identify(job(method="prumerge", task="textvqa"), tmp_path)
    assert found.name == f"predict-prumerge-textvqa-{found.key[:4]}"
    assert short_name(["a rule", "x/y=1", ""], "3f9a77") == "a-rule-x-y-1-3f9a"
    assert len(short_name(["x" * 200], "3f9a")) == 64


def test_array_names():
    assert array_name(["predict-a-1", "predict-b-2"], "snakemake-99abcd") == "predict-x2-abcd"
    assert array_name(["b-1", "a-1", "c-1", "d-1"], "abcd") == "a+b+c+more-x4-abcd"
