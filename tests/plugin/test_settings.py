"""The settings, as Snakemake's command line offers them."""

import dataclasses
import re
import subprocess
import sys

import pytest

from snakemake_executor_plugin_submitit import ExecutorSettings, common_settings

NAMES = {
    *("cluster", "folder", "array_parallelism", "array_size", "status", "lost_grace", "max_timeouts"),
    *("signal_delay", "setup", "sbatch", "python", "no_reattach", "keep_logs"),
}


def test_every_setting_has_a_default_and_a_sentence_of_help():
    fields = {field.name: field for field in dataclasses.fields(ExecutorSettings)}
    assert set(fields) == NAMES
    assert all(field.default is not dataclasses.MISSING for field in fields.values())
    assert fields["cluster"].metadata["choices"] == ["auto", "slurm", "local"]
    assert fields["status"].metadata["choices"] == ["auto", "sacct", "squeue", "scontrol"]
    assert all(field.metadata["help"].endswith(".") for field in fields.values())


def test_snakemake_shows_every_setting_as_a_flag():
    command = [sys.executable, "-m", "snakemake", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    flags = set(re.findall(r"--submitit-([a-z-]+)", said))
    assert flags == {name.replace("_", "-") for name in NAMES}


def test_variables_travel_in_the_environment_and_not_in_the_command_line():
    assert common_settings.non_local_exec and not common_settings.pass_envvar_declarations_to_cmd


@pytest.mark.parametrize(
    "name", ["array_parallelism", "array_size", "lost_grace", "max_timeouts", "signal_delay"]
)
def test_a_negative_number_is_refused_by_its_flag(name):
    ExecutorSettings(**{name: 0}).check()
    with pytest.raises(ValueError, match=f"--submitit-{name.replace('_', '-')} -5: must be 0 or more"):
        ExecutorSettings(**{name: -5}).check()
