"""Certificates on disk, and the command that checks them."""

import subprocess
import sys
from fractions import Fraction

import pytest

import queueing_llm as ql
from queueing_llm.certificates import (
    Certificate,
    certify_feed_forward,
    certify_overload,
    certify_stability,
    read_certificate,
)
from queueing_llm.certificates.__main__ import main
from queueing_llm.model import MulticlassNetwork

STEP = ql.StaircaseStepTime(
    overhead=Fraction("0.01128"), per_block=Fraction("0.03547"), block=128
)
ENGINE = ql.Engine(step_time=STEP, token_budget=512)


def published(rate):
    return ql.Workload.poisson(rate, prompt_tokens=129, output_tokens=112)


@pytest.fixture
def run(capsys):
    """Return a way to run the command: its status and what it prints."""

    def running(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return running


def test_files_of_both_kinds_are_checked_by_the_command(tmp_path, run):
    overload, drift, bad = (tmp_path / f"{name}.json" for name in ("overload", "drift", "bad"))
    certificate = certify_overload(ENGINE, published(14))
    certificate.write(overload)
    certify_stability(ENGINE, published(10), policy=ql.SARATHI).write(drift)
    Certificate({**certificate.document, "arrival_rate": [13, 1]}).write(bad)
    assert read_certificate(drift).check().kind == "drift"

    status, proved, complaints = run("check", overload, drift)
    assert (status, complaints) == (0, "")
    first, second = proved.splitlines()
    assert f"{overload}: PROVED: at 14 requests/s no policy keeps up" in first
    assert f"{drift}: PROVED: at 10 requests/s the rule is stable by Foster" in second
    status, rejected, _ = run("check", overload, bad, drift)
    assert status == 1
    assert [line.count("PROVED") for line in rejected.splitlines()] == [1, 0, 1]
    assert "REJECTED: work worth" in rejected
    command = [sys.executable, "-m", "queueing_llm.certificates", "check", str(bad)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_a_file_about_a_network_is_checked_by_the_command(tmp_path, run):
    path = tmp_path / "network.json"
    one = MulticlassNetwork.with_routes(["A"], mean_service=[1], arrival_rates=[Fraction(1, 2)])
    certify_feed_forward(one).write(path)
    status, proved, _ = run("check", path)
    assert status == 0
    assert f"{path}: PROVED: the fluid model of every non-idling policy is stable" in proved
    assert "no station is loaded to more than 0.5 (4 comparisons)" in proved


def test_what_cannot_be_read_is_bad_input(tmp_path, run):
    junk, long = tmp_path / "junk.json", tmp_path / "long.json"
    junk.write_text("{")
    long.write_text("[" + "9" * 5_000 + "]")
    for path in (junk, long, tmp_path / "none.json", tmp_path):
        status, _, complaint = run("check", path)
        assert status == 2
        assert complaint.startswith("error: certificate")
    assert run("check")[0] == run("prove", junk)[0] == 2


@pytest.mark.parametrize("text", ["[]", "3", "null", '{"kind": "drift"}'])
def test_json_that_is_no_certificate_is_rejected(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ql.certificates.Rejected):
        read_certificate(path).check()


def test_a_field_that_stands_there_twice_is_bad_input(tmp_path, run):
    """A reader would see 14 requests/s, the parser 20."""
    path = tmp_path / "twice.json"
    certify_overload(ENGINE, published(14)).write(path)
    path.write_text(path.read_text().rstrip("}\n") + ', "arrival_rate": [20, 1]}')
    status, _, complaint = run("check", path)
    assert status == 2
    assert "the field 'arrival_rate' stands there twice" in complaint
