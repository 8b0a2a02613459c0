"""Certificates that no policy keeps up: found, stored, checked, and rejected."""

import ast
import copy
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.certificates import (
    Certificate,
    Rejected,
    certify_overload,
    check,
    check_overload,
    read_certificate,
)
from queueing_llm.certificates import _check as checker

STEP = ql.StaircaseStepTime(
    overhead=Fraction("0.01128"), per_block=Fraction("0.03547"), block=128
)
ENGINE = ql.Engine(step_time=STEP, token_budget=512)
CAPACITY = Fraction(512) / Fraction("0.15316") / 241


def published(rate):
    return ql.Workload.poisson(rate, prompt_tokens=129, output_tokens=112)


@pytest.fixture
def document():
    certificate = certify_overload(ENGINE, published(14))
    return json.loads(json.dumps(certificate.document))


def test_overload_is_proved_just_above_capacity_and_not_at_it():
    assert certify_overload(ENGINE, published(CAPACITY)) is None
    above = certify_overload(ENGINE, published(CAPACITY * Fraction(10**9 + 1, 10**9)))
    assert Fraction(*above.document["excess"]) == Fraction(1, 10**9)
    assert above.check().comparisons == 2 * 512 + 1


def test_the_verdict_carries_the_proof():
    verdict = ql.check_stability(ENGINE, published(14), policy=ql.SARATHI)
    assert verdict.evidence is ql.Evidence.PROVED
    assert check_overload(verdict.certificate, ENGINE, published(14)).kind == "overload"


def test_floats_prove_nothing():
    engine = ql.Engine(step_time=ql.StaircaseStepTime(0.01128, 0.03547, 128), token_budget=512)
    assert certify_overload(engine, published(14)) is None
    assert certify_overload(ENGINE, published(14.0)) is None


def change(document, path, value):
    *parents, last = path
    node = document
    for key in parents:
        node = node[key]
    node[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("excess",), [931, 100_000], "does not exceed 1"),
        (("prices", "prefill"), [1, 1], "worth more than it takes"),
        (("prices", "decode"), [-1, 7], "at least 0"),
        (("prices", "decode"), [1, 0], "positive denominator"),
        (("prices", "decode"), [1, 10**10_000], "digits"),
        (("prices", "decode"), 0.0003, "pair of integers"),
        (("prices", "decode"), [True, 7], "pair of integers"),
        (("arrival_rate",), [13, 1], "does not exceed 1"),
        (("engine", "token_budget"), 1024, "worth more than it takes"),
        (("engine", "token_budget"), 10**9, "at most"),
        (("engine", "token_budget"), "512", "positive integer"),
        (("engine", "step_time", "law"), "magic", "not known"),
        (("engine", "step_time", "block"), [0, 1], "positive"),
        (("engine", "step_time", "per_block"), [3, 100], "worth more than it takes"),
        (("request", "prompt_tokens"), [1, 1], "does not exceed 1"),
        (("version",), 2, "version"),
        (("kind",), "stability", "not known"),
        (("surprise",), 1, "unknown field"),
    ],
)
def test_a_changed_document_is_rejected(document, path, value, reason):
    check(document)
    with pytest.raises(Rejected, match=reason):
        check(change(document, path, value))


def leaves(node, path=()):
    if isinstance(node, dict):
        for key, child in node.items():
            yield from leaves(child, (*path, key))
    else:
        yield path


def test_every_missing_field_is_rejected(document):
    for path in leaves(document):
        broken = copy.deepcopy(document)
        node = broken
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]
        with pytest.raises(Rejected, match=r"lacks|None is not known"):
            check(broken)


@pytest.mark.parametrize(
    "junk", [None, 3, "x", [], {}, [[]], {"format": "queueing_llm certificate"}]
)
def test_junk_is_rejected(junk):
    with pytest.raises(Rejected):
        check(junk)


def test_a_claim_stronger_by_one_part_in_1e9_is_rejected(document):
    excess = Fraction(*document["excess"]) * Fraction(10**9 + 1, 10**9)
    document["excess"] = [excess.numerator, excess.denominator]
    with pytest.raises(Rejected, match="does not exceed"):
        check(document)


def test_a_certificate_for_another_system_is_rejected():
    certificate = certify_overload(ENGINE, published(14))
    check_overload(certificate, ENGINE, published(14))
    other_engine = ql.Engine(step_time=STEP, token_budget=512, max_batch_size=4)
    for engine, load in ((ENGINE, published(15)), (other_engine, published(14))):
        with pytest.raises(Rejected, match="another system"):
            check_overload(certificate, engine, load)


small = st.fractions(min_value=0, max_value=5, max_denominator=20)


def test_a_batch_size_limit_has_prices_of_its_own():
    """Block price of theory: a request of 290 + 990 tokens costs 467.5 ms, for any budget."""
    engine = ql.Engine(step_time=STEP, token_budget=1024, max_batch_size=100)
    load = ql.Workload.poisson(Fraction(1000, 467), prompt_tokens=290, output_tokens=990)
    certificate = certify_overload(engine, load)
    assert certificate.check().comparisons == 2 * 1024 + 1
    assert Fraction(*certificate.document["excess"]) == Fraction("467.5") / 467 - 1
    assert certify_overload(engine, load.scale_to(Fraction(10_000, 4675))) is None


laws = st.one_of(
    st.builds(ql.StaircaseStepTime, small, small.filter(bool), st.integers(1, 9)),
    st.builds(ql.HingeStepTime, small.filter(bool), small.filter(bool), st.integers(1, 9)),
    st.builds(ql.AffineStepTime, small, small.filter(bool)),
    st.lists(small.filter(bool), min_size=20, max_size=20).map(
        lambda times: ql.TableStepTime.of_tokens(range(1, 21), times)
    ),
)


@given(
    law=laws,
    budget=st.integers(1, 20),
    members=st.none() | st.integers(1, 12),
    lengths=st.tuples(st.integers(1, 9), st.integers(0, 9)),
    load=st.fractions(min_value=Fraction(1, 2), max_value=2, max_denominator=50),
    emits=st.booleans(),
)
def test_exactly_the_loads_above_capacity_are_certified(
    law, budget, members, lengths, load, emits
):
    prompt, output = lengths
    assume(output > 0 or not emits)
    engine = ql.Engine(
        step_time=law,
        token_budget=budget,
        max_batch_size=members,
        first_token_from_prefill=emits,
    )
    shape = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=output)
    ceiling = ql.capacity(engine, shape).requests_per_second
    workload = shape.scale_to(load * ceiling)
    certificate = certify_overload(engine, workload)
    assert (certificate is not None) == (load > 1)
    if certificate is not None:
        assert Fraction(*certificate.document["excess"]) == load - 1
        assert check_overload(certificate, engine, workload).kind == "overload"


def test_files_are_checked_by_the_command(tmp_path, document):
    good, bad, junk = tmp_path / "good.json", tmp_path / "bad.json", tmp_path / "junk.json"
    certify_overload(ENGINE, published(14)).write(good)
    Certificate(change(document, ("arrival_rate",), [13, 1])).write(bad)
    junk.write_text("{")
    assert read_certificate(good).check().kind == "overload"

    def run(*files):
        command = [sys.executable, "-m", "queueing_llm.certificates", "check", *map(str, files)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    proved = run(good)
    assert (proved.returncode, proved.stderr) == (0, "")
    assert "PROVED: at 14 requests/s no policy keeps up" in proved.stdout
    rejected = run(good, bad)
    assert rejected.returncode == 1
    assert "REJECTED: work worth" in rejected.stdout
    assert run(junk).returncode == run(tmp_path / "none.json").returncode == 2


def test_the_checker_imports_the_standard_library_alone():
    tree = ast.parse(Path(checker.__file__).read_text(encoding="utf-8"))
    modules = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    assert modules == {"collections.abc", "dataclasses", "fractions", "typing"}


def test_budgets_too_large_to_check_are_answered_without_a_proof():
    """Regression: the checker's refusal of a huge budget must not end the verdict."""
    engine = ql.Engine(step_time=STEP, token_budget=checker.LARGEST_BUDGET + 128)
    verdict = ql.check_stability(engine, published(50), policy=ql.SARATHI)
    assert verdict.status is ql.Status.UNSTABLE
    assert (verdict.evidence, verdict.certificate) == (ql.Evidence.THEOREM, None)
