"""The ledger of submissions and the claims of their jobs."""

import json
import threading
from dataclasses import replace

import pytest

from snakemake_executor_plugin_submitit import claims
from snakemake_executor_plugin_submitit.claims import Claim, Superseded
from snakemake_executor_plugin_submitit.ledger import Ledger

from .fakes import make_entry


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path)


def test_what_is_written_is_read_again(ledger, tmp_path):
    entry = make_entry(tmp_path, devices=("0", "GPU-1"), born=5.5)
    ledger.write(entry)
    assert ledger.read("k") == entry
    ledger.write(replace(entry, job_id="8"))
    assert ledger.read("k").job_id == "8"
    assert ledger.read("other") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"key": "k"}', "{}"])
def test_a_damaged_entry_is_no_entry(ledger, text):
    ledger.path("k").write_text(text)
    assert ledger.read("k") is None


def test_an_entry_of_a_later_version_is_read(ledger, tmp_path):
    ledger.write(make_entry(tmp_path))
    values = json.loads(ledger.path("k").read_text())
    ledger.path("k").write_text(json.dumps({**values, "novelty": 1}))
    assert ledger.read("k") == make_entry(tmp_path)


def test_remove_spares_a_newer_submission(ledger, tmp_path):
    old, new = make_entry(tmp_path, token="old"), make_entry(tmp_path, token="new")
    for token in ("old", "new"):
        claims.take(ledger.claim(token), Claim("7"))
    ledger.write(new)
    ledger.remove(old)
    assert ledger.read("k") == new
    assert not ledger.claim("old").exists() and ledger.claim("new").exists()
    ledger.remove(new, keep_claim=True)
    assert ledger.read("k") is None and ledger.claim("new").exists()


def test_writing_leaves_nothing_but_the_entry(ledger, tmp_path):
    ledger.write(make_entry(tmp_path))
    assert [path.name for path in ledger.path("k").parent.iterdir()] == ["k.json"]


def test_first_claim_wins(tmp_path):
    path = tmp_path / "claims" / "t.json"
    assert claims.take(path, Claim("1")) == Claim("1")
    assert claims.take(path, Claim("2")) == Claim("1")
    assert [p.name for p in path.parent.iterdir()] == ["t.json"]


def test_of_many_racing_claims_one_wins(tmp_path):
    path = tmp_path / "t.json"
    start = threading.Barrier(8)
    won: list[bool] = []

    def race(number: int) -> None:
        start.wait()
        won.append(claims.take(path, Claim(str(number))).job_id == str(number))

    threads = [threading.Thread(target=race, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert won.count(True) == 1 and len(won) == 8


def test_a_void_submission_does_not_start(tmp_path):
    path = tmp_path / "t.json"
    assert claims.void(path) is None
    with pytest.raises(Superseded, match="voided"):
        claims.start_work(path, "5")


def test_voiding_comes_too_late_for_a_job_that_started(tmp_path):
    path = tmp_path / "t.json"
    claims.start_work(path, "5")
    holder = claims.void(path)
    assert holder is not None and holder.job_id == "5" and holder.pid > 0 and holder.host


def test_a_requeued_job_finds_its_own_claim_until_it_is_revoked(tmp_path):
    path = tmp_path / "t.json"
    claims.start_work(path, "5")
    claims.start_work(path, "5")
    with pytest.raises(Superseded, match="runs as job 5"):
        claims.start_work(path, "6")
    claims.revoke(path)
    with pytest.raises(Superseded, match="voided"):
        claims.start_work(path, "5")
