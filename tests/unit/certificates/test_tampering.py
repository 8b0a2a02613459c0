"""The checker rejects whatever does not prove its claim, with the reason."""

import ast
import copy
import json
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.certificates import (
    Certificate,
    Rejected,
    certify_overload,
    certify_stability,
    check,
    check_certificate,
)
from queueing_llm.certificates import _checker as checker

STEP = ql.StaircaseStepTime(
    overhead=Fraction("0.01128"), per_block=Fraction("0.03547"), block=128
)
READING = ql.AffineStepTime(STEP.overhead, STEP.per_block / 128, Fraction(1, 10**7))
FREE = ql.Engine(step_time=STEP, token_budget=512)
TIGHT = ql.Engine(
    step_time=READING,
    token_budget=64,
    max_batch_size=48,
    kv_capacity=600,
    first_token_from_prefill=True,
)


def published(rate):
    return ql.Workload.poisson(rate, prompt_tokens=129, output_tokens=112)


SYSTEMS = {
    "overload": (FREE, published(14)),
    "overload with limits": (TIGHT, published(14)),
    "drift": (FREE, published(Fraction("10.4"))),
}
FOUND = {
    "overload": certify_overload(*SYSTEMS["overload"]),
    "overload with limits": certify_overload(*SYSTEMS["overload with limits"]),
    "drift": certify_stability(*SYSTEMS["drift"], policy=ql.SARATHI),
}


def document(kind):
    return json.loads(json.dumps(FOUND[kind].document))


def change(node, path, value):
    *parents, last = path
    whole = node
    for key in parents:
        node = node[key]
    node[last] = value
    return whole


@pytest.mark.parametrize(
    ("kind", "path", "value", "reason"),
    [
        ("overload", ("excess",), [931, 100_000], "does not exceed 1"),
        ("overload", ("excess",), [0, 1], "does not exceed 1"),
        ("overload", ("prices", "prefill"), [1, 1], "worth more than it takes"),
        ("overload", ("prices", "decode"), [-1, 7], "at least 0"),
        ("overload", ("prices", "decode"), [1, 0], "positive denominator"),
        ("overload", ("prices", "decode"), [1, -7], "positive denominator"),
        ("overload", ("prices", "decode"), [1, 10**2_000], "digits"),
        ("overload", ("prices", "decode"), [10**2_000, 1], "digits"),
        ("overload", ("prices", "decode"), 0.0003, "pair of integers"),
        ("overload", ("prices", "decode"), [0.5, 7], "pair of integers"),
        ("overload", ("prices", "decode"), [True, 7], "pair of integers"),
        ("overload", ("prices", "decode"), [1, 7, 1], "pair of integers"),
        ("overload", ("prices", "memory"), [1, 10**9], "must be 0 without"),
        ("overload", ("prices", "kv_read"), [1, 10**9], "more than the time it takes"),
        ("overload", ("arrival_rate",), [13, 1], "does not exceed 1"),
        ("overload", ("arrival_rate",), [10**1_999, 10**1_998 * 11], "does not exceed 1"),
        ("overload", ("engine", "token_budget"), 1024, "worth more than it takes"),
        ("overload", ("engine", "token_budget"), 10**9, "at most"),
        ("overload", ("engine", "token_budget"), "512", "positive integer"),
        ("overload", ("engine", "token_budget"), True, "positive integer"),
        ("overload", ("engine", "token_budget"), None, "positive integer"),
        ("overload", ("engine", "max_batch_size"), 0, "positive integer"),
        ("overload", ("engine", "first_token_from_prefill"), 0, "true or false"),
        ("overload", ("engine", "step_time"), [], "not known"),
        ("overload", ("engine", "step_time", "law"), "magic", "not known"),
        ("overload", ("engine", "step_time", "law"), ["staircase"], "not known"),
        ("overload", ("engine", "step_time", "block"), [0, 1], "positive"),
        ("overload", ("engine", "step_time", "per_block"), [3, 100], "more than it takes"),
        ("overload", ("engine", "step_time"), {"law": "table", "seconds": []}, "every batch"),
        ("overload", ("request", "prompt_tokens"), [1, 1], "does not exceed 1"),
        ("overload", ("request", "kv_reads"), [-1, 1], "at least 0"),
        ("overload", ("version",), 1, "version must be 2"),
        ("overload", ("version",), 2.0, "version must be 2"),
        ("overload", ("version",), "2", "version must be 2"),
        ("overload", ("format",), "queueing certificate", "format must be"),
        ("overload", ("kind",), "stability", "not known"),
        ("overload", ("kind",), ["overload"], "not known"),
        ("overload", ("kind",), "drift", "lacks 'rule'"),
        ("overload", ("surprise",), 1, "unknown field"),
        ("overload with limits", ("prices", "memory"), [1, 100], "worth more than it takes"),
        ("overload with limits", ("engine", "kv_capacity"), 6000, "worth more than it takes"),
        ("overload with limits", ("engine", "kv_capacity"), None, "must be 0 without"),
        ("overload with limits", ("request", "output_tokens"), [1, 2], "at least 1"),
        ("overload with limits", ("request", "kv_reads"), [1, 1], "does not exceed 1"),
        ("overload with limits", ("request", "output_tokens"), [1, 1], "without decode steps"),
        ("drift", ("decrease",), [0, 1], "not 0 fewer"),
        ("drift", ("decrease",), [129, 1], "not 129 fewer"),
        ("drift", ("arrival_rate",), [14, 1], "tokens arrive while a full batch serves 512"),
        ("drift", ("arrivals",), "periodic", "must be 'poisson'"),
        ("drift", ("rule", "mixed"), False, "mixed and chunked"),
        ("drift", ("rule", "mixed"), 1, "mixed and chunked"),
        ("drift", ("rule", "chunked"), False, "mixed and chunked"),
        ("drift", ("rule",), None, "must be an object"),
        ("drift", ("engine", "kv_capacity"), 10**9, "kv_capacity must be null"),
        ("drift", ("engine", "max_batch_size"), 512, "max_batch_size and kv"),
        ("drift", ("engine", "token_budget"), 130, "tokens arrive"),
        ("drift", ("engine", "first_token_from_prefill"), None, "true or false"),
        ("drift", ("request", "longest"), 240, "exceeds that of the longest"),
        ("drift", ("request", "longest"), [241, 1], "positive integer"),
        ("drift", ("request", "longest"), None, "positive integer"),
        ("drift", ("request", "prompt_tokens"), [180, 1], "exceeds that of the longest"),
        (
            "drift",
            ("engine", "step_time"),
            {"law": "affine", "base": [0, 1], "per_token": [0, 1], "per_kv_token": [0, 1]},
            "takes no time",
        ),
        (
            "drift",
            ("engine", "step_time"),
            {"law": "affine", "base": [1, 9], "per_token": [0, 1], "per_kv_token": [1, 1]},
            "reading the KV cache must",
        ),
        ("drift", ("kind",), "overload", "lacks 'prices'"),
        ("drift", ("surprise",), 1, "unknown field"),
    ],
)
def test_a_changed_document_is_rejected(kind, path, value, reason):
    check(document(kind))
    with pytest.raises(Rejected, match=reason):
        check(change(document(kind), path, value))


def paths(node, path=()):
    """Yield the path of every field and entry of a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in children:
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from paths(child, (*path, key))


@pytest.mark.parametrize("kind", FOUND)
def test_every_missing_field_is_rejected(kind):
    for path in paths(document(kind)):
        broken = document(kind)
        node = broken
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]
        with pytest.raises(Rejected, match=r"lacks|is not known|pair of integers"):
            check(broken)


@pytest.mark.parametrize("kind", FOUND)
def test_a_claim_stronger_by_one_part_in_1e9_is_rejected(kind):
    stronger = document(kind)
    claim = "decrease" if kind == "drift" else "excess"
    value = Fraction(*stronger[claim]) * Fraction(10**9 + 1, 10**9)
    stronger[claim] = [value.numerator, value.denominator]
    with pytest.raises(Rejected, match=r"does not exceed|fewer"):
        check(stronger)


NUMBERS = st.integers(-3, 3) | st.integers(-(10**12), 10**12) | st.just(10**2_500)
JUNK = st.one_of(
    st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.just([]), st.just({})
)


def same_claim(found, changed):
    """Whether a document claims no more than the one that was found, of the same system."""
    claims = {"prices", "excess", "decrease"}
    if {k: v for k, v in found.items() if k not in claims} != {
        k: v for k, v in changed.items() if k not in claims
    }:
        return False
    return all(
        Fraction(*changed[claim]) <= Fraction(*found[claim])
        for claim in ("excess", "decrease")
        if claim in found
    )


@given(data=st.data(), kind=st.sampled_from(sorted(FOUND)))
def test_a_mutated_document_is_rejected_or_claims_no_more(data, kind):
    """One to three fields are replaced, scaled or shifted; a crash is a failure, too."""
    found, changed = document(kind), document(kind)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(paths(found), key=str)))
        node = changed
        try:
            for key in path[:-1]:
                node = node[key]
            old = node[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
        if isinstance(old, int) and not isinstance(old, bool) and data.draw(st.booleans()):
            node[path[-1]] = old + data.draw(NUMBERS)
        else:
            node[path[-1]] = data.draw(NUMBERS | JUNK)
    engine, workload = SYSTEMS[kind]
    try:
        check_certificate(Certificate(changed), engine, workload=workload, policy=ql.SARATHI)
    except Rejected:
        return
    assert same_claim(found, changed)


@pytest.mark.parametrize(
    "junk", [None, 3, "x", [], {}, [[]], {"format": "queueing_llm certificate"}]
)
def test_junk_is_rejected(junk):
    with pytest.raises(Rejected):
        check(junk)


@pytest.mark.parametrize("kind", FOUND)
def test_a_certificate_for_another_system_is_rejected(kind):
    engine, workload = SYSTEMS[kind]
    check_certificate(FOUND[kind], engine, workload=workload, policy=ql.SARATHI)
    others = [
        (FREE if engine is TIGHT else TIGHT, workload),
        (engine, workload.scale_to(workload.arrival_rate + 1)),
        (
            engine,
            ql.Workload.poisson(workload.arrival_rate, prompt_tokens=130, output_tokens=111),
        ),
        (engine, workload.scale_to(float(workload.arrival_rate))),
    ]
    for other, load in others:
        with pytest.raises(Rejected, match="another system"):
            check_certificate(FOUND[kind], other, workload=load, policy=ql.SARATHI)


def test_numbers_too_long_for_a_float_are_checked():
    """Regression: the sentence of a document with long integers must not overflow."""
    huge = document("overload")
    huge["arrival_rate"] = [10**1_900, 1]
    assert "1.00000e+1900" in check(huge).statement


def test_the_sentence_claims_no_more_than_the_document():
    """59523/6400000 s is 0.00930046875 s, and 4003743/31250 tokens are 128.119776."""
    assert "at least 0.00930046 seconds" in FOUND["overload"].check().statement
    assert "at least 128.119 tokens" in FOUND["drift"].check().statement


def test_of_equal_fractions_the_checker_takes_any_but_the_system_must_match():
    doubled = document("drift")
    doubled["arrival_rate"] = [104, 10]
    check(doubled)
    engine, workload = SYSTEMS["drift"]
    with pytest.raises(Rejected, match="arrival_rate differs"):
        check_certificate(Certificate(doubled), engine, workload=workload, policy=ql.SARATHI)


def test_nothing_is_changed_by_a_check():
    for kind in FOUND:
        before = document(kind)
        after = copy.deepcopy(before)
        check(after)
        assert after == before


def test_the_checker_imports_the_standard_library_alone():
    """And itself; no file of it is long."""
    own = checker.__name__
    for path in Path(checker.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(source)))
        modules = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
        modules |= {n.module for n in nodes if isinstance(n, ast.ImportFrom)}
        others = {name for name in modules if not f"{name}.".startswith(f"{own}.")}
        assert others <= sys.stdlib_module_names | {"collections.abc"}, path
        assert len(source.splitlines()) <= 300
