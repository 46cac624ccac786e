"""GPUs of local jobs."""

from snakemake_executor_plugin_submitit.gpus import GpuPool, count_gpus, gpu_state, visible_gpus


def never():
    raise AssertionError("no job asked for a GPU")


def test_gpus_are_shared_out_evenly_and_come_back():
    pool = GpuPool(lambda: ("0", "1", "2"))
    assert pool.take(2) == ("0", "1")
    assert pool.take(1) == ("2",)
    pool.give_back(("1",))
    assert pool.take(1) == ("1",)
    pool.occupy(("0", "gone"))
    pool.give_back(("1", "2", "gone"))
    assert set(pool.take(2)) == {"1", "2"}


def test_jobs_without_gpus_do_not_look_for_any():
    pool = GpuPool(never)
    assert pool.take(0) == ()
    pool.give_back(())
    pool.occupy(())


def test_a_machine_without_gpus_gives_none():
    assert GpuPool(lambda: ()).take(2) == ()


def test_what_is_visible():
    assert visible_gpus({}, lambda: 2) == ("0", "1")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "3, GPU-ab"}, never) == ("3", "GPU-ab")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, never) == ()
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}, never) == ()


def driver(folder, monkeypatch, text):
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_what_the_driver_says(tmp_path, monkeypatch):
    driver(
        tmp_path, monkeypatch, "echo 'GPU 0: NVIDIA X (UUID: GPU-1)'; echo 'GPU 1: NVIDIA X (UUID: GPU-2)'"
    )
    assert count_gpus() == 2
    assert gpu_state({"CUDA_VISIBLE_DEVICES": "1"}) == "CUDA_VISIBLE_DEVICES=1, nvidia-smi lists 2 GPU(s)"
    driver(tmp_path, monkeypatch, "echo NVIDIA-SMI has failed; exit 9")
    assert count_gpus() == 0
    assert gpu_state({}) == "CUDA_VISIBLE_DEVICES=not set, nvidia-smi gives no answer"
