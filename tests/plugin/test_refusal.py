"""What a user reads whose submission was refused for good."""

from snakemake_executor_plugin_submitit.refusal import accounts, explain, partitions

SINFO = "gpu*|1-00:00:00|8|32|256000|gpu:a100:4|a100,nvme\ncpu|infinite|20+|64|128000|(null)|(null)\n"


def test_the_message_names_values_by_the_resources_that_set_them():
    parameters = {
        "partition": "gpux",
        "account": "",
        "gres": "gpu:h100:1",
        "mem": "4000MB",
        "time": 10,
        "signal_delay_s": 90,
        "additional_parameters": {"requeue": True, "reservation": "lab"},
    }
    text = explain("slurm", "invalid partition specified: gpux", parameters, partitions(SINFO))
    assert text.startswith("slurm refused the job: invalid partition specified: gpux\n")
    for asked in (
        "slurm_partition=gpux",
        "gres=gpu:h100:1",
        "mem_mb=4000MB",
        "runtime=10",
        "--reservation=lab",
    ):
        assert asked in text
    assert not any(word in text for word in ("slurm_account", "signal", "--requeue"))
    assert "partition gpu (default)" in text and "set-resources" in text


def test_partitions_are_read_from_sinfo():
    assert partitions(SINFO) == [
        "partition gpu (default): 8 nodes of 32 cores, 256000 MB, gres gpu:a100:4, features a100,nvme; "
        "at most 1-00:00:00",
        "partition cpu: 20+ nodes of 64 cores, 128000 MB, gres none, features none; at most infinite",
    ]
    assert partitions("sinfo: error: Unable to contact slurm controller\n") == []


def test_a_large_site_is_cut():
    rows = "".join(f"p{number}|1:00|1|1|1|(null)|(null)\n" for number in range(30))
    assert len(partitions(rows)) == 21 and partitions(rows)[-1] == "... and 10 more (sinfo lists all)"


def test_accounts_are_listed_once():
    assert accounts("lab|gpu|normal,high\nlab|gpu|normal,high\nother||normal\n") == [
        "account lab in partition gpu: qos normal,high",
        "account other: qos normal",
    ]
    assert accounts("") == []
