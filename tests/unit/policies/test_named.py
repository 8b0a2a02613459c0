"""Names and readings of the published schedulers."""

import dataclasses

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import (
    FASTER_TRANSFORMER,
    ORCA,
    POLICIES,
    READINGS,
    SARATHI,
    VANILLA_VLLM,
    VLLM_V1,
    policy_named,
)


def test_table_1_is_the_code():
    """Table 1 of arXiv:2504.07347v3: priority, batching, work conservation."""
    table = [
        (FASTER_TRANSFORMER, "decode", False, False),
        (VANILLA_VLLM, "prefill", False, False),
        (ORCA, "prefill", True, True),
        (SARATHI, "decode", True, True),
    ]
    for rule, first, mixed, work_conserving in table:
        assert (rule.first, rule.mixed, rule.is_work_conserving) == (
            first,
            mixed,
            work_conserving,
        )


def test_vllm_v1_is_sarathi_with_a_limit_on_residents():
    same = SARATHI.variant(limit_counts="residents")
    assert dataclasses.replace(same, name="vllm_v1") == VLLM_V1


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_is_found_by_its_name_in_any_case(name):
    assert policy_named(name) is POLICIES[name]
    assert policy_named(f" {name.upper().replace('_', '-')} ") is POLICIES[name]
    assert POLICIES[name].name == name


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_changes_only_what_it_says_and_its_name_finds_it_again(name, reading):
    rule = policy_named(f"{name}:{reading}")
    ((field, value),) = READINGS[reading].items()
    assert getattr(rule, field) == value
    assert (rule.first, rule.mixed) == (POLICIES[name].first, POLICIES[name].mixed)
    assert policy_named(rule.name) == rule


def test_readings_combine():
    both = policy_named("faster_transformer:chunked, residents")
    assert (both.chunked, both.limit_counts) == (True, "residents")
    assert both.name == "faster_transformer:chunked,residents"
    assert policy_named(both.name) == both


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sarathy", "did you mean 'sarathi'"),
        ("fifo", "accepted: .*'faster_transformer', 'orca'"),
        ("orca:hole", "did you mean 'whole'"),
    ],
)
def test_an_unknown_word_is_answered_with_the_known_ones(name, hint):
    with pytest.raises(InvalidArgument, match=f"(?i){hint}"):
        policy_named(name)


def test_the_catalogue_cannot_be_changed():
    with pytest.raises(TypeError):
        POLICIES["mine"] = SARATHI
