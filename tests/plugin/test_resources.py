"""Snakemake resources to submitit parameters."""

import subprocess
import sys
from typing import Any

import pytest

from snakemake_executor_plugin_submitit.resources import (
    KNOWN,
    Options,
    ResourceError,
    parse_sbatch,
    submitit_parameters,
)


def slurm(threads: int = 1, options: Options | None = None, limits: tuple[str, ...] = (), **resources: Any):
    return submitit_parameters(
        resources, threads, cluster="slurm", options=options or Options(), limits=limits
    )


def local(threads: int = 1, options: Options | None = None, **resources: Any):
    return submitit_parameters(resources, threads, cluster="local", options=options or Options())


def test_everything_a_gpu_rule_asks_for():
    found = slurm(
        threads=8,
        runtime=240,
        mem_mb=32000,
        gpu=2,
        gpu_model="a100",
        slurm_partition="gpu,long",
        slurm_account="lab",
        slurm_qos="high",
        constraint="nvlink",
        slurm_extra="--reservation=maint --exclusive",
    )
    assert found["time"] == 240
    assert found["mem"] == "32000MB"
    assert found["cpus_per_task"] == 8
    assert found["gres"] == "gpu:a100:2"
    assert (found["partition"], found["account"], found["qos"]) == ("gpu,long", "lab", "high")
    assert found["constraint"] == "nvlink"
    assert found["additional_parameters"] == {"requeue": True, "reservation": "maint", "exclusive": True}


def test_surprising_defaults_of_submitit_are_replaced():
    found = slurm()
    assert found["time"] == 60
    assert found["wckey"] is None
    assert found["additional_parameters"] == {"requeue": True}
    assert found["stderr_to_stdout"] is True
    assert "mem" not in found and "gres" not in found and "partition" not in found


def test_srun_gets_the_cores_that_newer_slurm_does_not_hand_on():
    assert "--cpus-per-task=6" in slurm(threads=6)["srun_args"]


def test_a_signal_in_the_first_seconds_does_not_kill_the_job(tmp_path):
    """The wrapper comes last of srun's arguments: what follows is run with SIGUSR2 ignored."""
    wrapper = slurm()["srun_args"][-4:]
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2); print('survived')"
    done = subprocess.run([*wrapper, sys.executable, "-c", kill], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "survived\n")
    bare = subprocess.run([sys.executable, "-c", kill], capture_output=True, text=True, timeout=60)
    assert bare.returncode != 0


def test_one_snakemake_on_several_nodes():
    found = slurm(nodes=3, gpu=4)
    assert found["nodes"] == 3
    assert "--ntasks=1" in found["srun_args"] and "--nodes=1" in found["srun_args"]
    assert "--ntasks=1" not in slurm()["srun_args"]


def test_settings_reach_every_job():
    options = Options(120, ("module load cuda",), {"nice": "100", "reservation": "a"}, 7)
    found = slurm(options=options, slurm_extra="reservation=b")
    assert found["signal_delay_s"] == 120
    assert found["setup"] == ["module load cuda"]
    assert found["array_parallelism"] == 7
    assert found["additional_parameters"] == {"requeue": True, "nice": "100", "reservation": "b"}


def test_a_short_job_is_not_signalled_at_its_start():
    assert slurm(runtime=1)["signal_delay_s"] == 30
    assert slurm(runtime=3)["signal_delay_s"] == 90


def test_submitit_accepts_the_parameters(tmp_path):
    from submitit.slurm.slurm import _make_sbatch_string

    text = _make_sbatch_string(
        command="true", folder=tmp_path, **slurm(threads=2, runtime=5, mem_mb=1000, gpu=1, nodes=2)
    )
    assert "#SBATCH --requeue" in text
    assert "#SBATCH --gres=gpu:1" in text
    assert "#SBATCH --time=5" in text
    assert "wckey" not in text


def test_other_generic_resources_stand_beside_gpus():
    assert slurm(gpu=1, gres="lscratch:50")["gres"] == "gpu:1,lscratch:50"
    assert slurm(gres="gpu:h100:4")["gres"] == "gpu:h100:4"
    assert "gres" not in slurm(gpu=0)


def test_no_requeue_if_the_user_says_so():
    assert slurm(slurm_extra="--no-requeue")["additional_parameters"] == {"no-requeue": True}


def test_snakemakes_own_resources_and_limits_are_no_requests():
    plain = slurm()
    assert slurm(_cores=1, _nodes=1, tmpdir="/tmp", disk_mb=100, disk_mib=96, mem_mib=5) == plain
    assert slurm(io=3, limits=("io",)) == plain


def test_a_model_of_gpu_is_nothing_to_a_job_that_says_gpu_0():
    got = submitit_parameters(
        {"gpu": 0, "gpu_model": "a100", "gres": "disk:1"}, 1, cluster="slurm", options=Options()
    )
    assert got["gres"] == "disk:1"


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"slurm_partiton": "gpu"}, ["slurm_partiton", "Did you mean slurm_partition?"]),
        ({"gpus": 1}, ["gpus", "Did you mean gpu?"]),
        ({"io": 1}, ["io", "--resources"]),
        ({"gpu_model": "a100"}, ["gpu_model=a100", "gpu=N"]),
        ({"gpu": 1, "gres": "gpu:2"}, ["gpu=1", "gres=gpu:2"]),
        ({"runtime": "soon"}, ["runtime", "minutes"]),
        ({"runtime": 0}, ["runtime=0", "at least 1"]),
        ({"runtime": 1.5}, ["runtime=1.5", "whole number"]),
        ({"gpu": -1}, ["gpu=-1"]),
        ({"gpu": True}, ["gpu=True"]),
        ({"nodes": 0}, ["nodes=0"]),
        ({"mem_mb": "lots"}, ["mem_mb", "MB"]),
        ({"slurm_extra": "--time=5"}, ["--time", "resource runtime"]),
        ({"slurm_extra": "-p gpu"}, ["-p", "long form"]),
        ({"slurm_extra": "--gpus_per_node=2"}, ["--gpus-per-node", "resource gpu"]),
        ({"slurm_extra": "--comment='x"}, ["slurm_extra", "quotation"]),
    ],
)
def test_errors_name_the_culprit_and_the_way_out(resources, words):
    with pytest.raises(ResourceError) as error:
        slurm(**resources)
    for word in words:
        assert word in str(error.value)


def test_an_unknown_resource_lists_all_that_exist():
    with pytest.raises(ResourceError) as error:
        slurm(nonsense=1)
    assert all(name in str(error.value) for name in KNOWN)


def test_local_jobs():
    found = local(threads=4, runtime=2, gpu=2, slurm_partition="ignored")
    assert found["timeout_min"] == 2
    assert found["gpus_per_node"] == 2
    assert found["signal_delay_s"] == 60  # half of the limit: submitit would not signal with 90 of 120 s
    with pytest.raises(ResourceError, match="one node"):
        local(nodes=2)
    for wrong in ({"nonsense": 1}, {"mem_mb": "lots"}, {"gpu_model": "a100"}):
        with pytest.raises(ResourceError):  # what Slurm would refuse is refused here too
            local(**wrong)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("--exclusive", {"exclusive": True}),
        ("nice=5 mail_type=END", {"nice": "5", "mail-type": "END"}),
        ("--reservation='two words'", {"reservation": "two words"}),
        ("--switches=1@00:10:00", {"switches": "1@00:10:00"}),
    ],
)
def test_sbatch_text(text, found):
    assert parse_sbatch(text, "here") == found
