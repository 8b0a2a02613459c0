"""One-line mutations of the rule code, which ``check_policy`` has to tell from the original.

Each changes what batches a rule forms in some state that it comes to. A mutation counts as
caught if a contract is violated that the original keeps.
"""

import functools
import inspect
import types

import pytest

from queueing_llm.policies import _rule, policy_named
from queueing_llm.verify import CONTRACTS
from queueing_llm.verify._check_policy import PLAYS
from queueing_llm.verify.search._search import survey

MUTATIONS = [
    (
        "sarathi",
        "token_budget - int(self.tokens.sum())",
        "token_budget - int(self.tokens.sum()) - 1",
    ),
    (
        "sarathi",
        "token_budget - int(self.tokens.sum())",
        "token_budget - int(self.tokens.sum()) + 1",
    ),
    ("sarathi", "if self.mixed or draft.is_empty:", "if draft.is_empty:"),
    ("sarathi", 'if self.first == "decode" else', 'if self.first != "decode" else'),
    ("sarathi", "self.tokens[served] = 1", "self.tokens[served] = 2"),
    ("sarathi", "served = self.decoders()[:", "served = self.decoders()[1:][:"),
    ("sarathi", "take = min(left, self.room, slots)", "take = min(left, self.room)"),
    ("sarathi", "take = min(left, self.room, slots)", "take = min(self.room, slots)"),
    ("sarathi", "for i in state.prefilling:", "for i in state.prefilling[::-1]:"),
    ("sarathi", "for i in state.prefilling:", "for i in state.prefilling[:1]:"),
    ("sarathi", "if self.places <= 0 or take <= 0", "if take <= 0"),
    ("sarathi", "and not self.rule.chunked", "and self.rule.chunked"),
    ("sarathi", "limit = state.max_batch_size or unlimited", "limit = unlimited"),
    ("vllm_v1", "residents >= self.resident_limit", "residents > self.resident_limit"),
    ("vllm_v1", "or left > slots", "or left >= slots"),
    ("vllm_v1", "or left > slots", "or False"),
    ("vllm_v1", "residents += int(is_new)", "residents += 0"),
    ("vllm_v1", "self.preempted[residents[-1]] = True", "self.preempted[residents[0]] = True"),
    ("vllm_v1", ") > self.free_blocks:", ") >= self.free_blocks:"),
    ("vllm_v1", ") > self.free_blocks:", ") > self.free_blocks + 1:"),
    ("vllm_v1", "if self.preempted.any():", "if False:"),
    (
        "vllm_v1",
        "(self.state.stored + self.tokens)[~self.preempted]",
        "(self.state.stored + self.tokens)",
    ),
    ("vllm_v1", "decoding = decoding[~self.preempted[decoding]]", "decoding = decoding[:]"),
    ("vllm_v1", "served = self.decoders()[:", "served = self.decoders()[:-1][:"),
]


def mutant(name, old, new):
    """Return the rule of that name, formed by code in which one line is changed."""
    source = inspect.getsource(_rule)
    assert source.count(old) == 1, old
    module = types.ModuleType("mutated_rule")
    exec(compile(source.replace(old, new), "mutated_rule", "exec"), module.__dict__)
    rule = policy_named(name)
    fields = {field: getattr(rule, field) for field in rule.__dataclass_fields__}
    return module.BatchRule(**fields)


def broken(policy):
    """Return what the trials of effort="quick" find broken, without shrinking it."""
    contracts = list(CONTRACTS.values())
    return survey(policy, contracts, engine=None, plays=PLAYS["quick"], seed=0).broken


@functools.cache
def broken_by_the_original(name):
    return broken(policy_named(name))


def caught(name, old, new):
    return broken(mutant(name, old, new)) - broken_by_the_original(name)


def test_a_mutation_is_caught():
    assert caught(*MUTATIONS[14]) == {"work_conserving_within_limits"}


def test_the_original_compiled_anew_is_not_caught():
    """Control: what is caught is the mutation."""
    assert not caught("vllm_v1", "limit = state.max_batch_size", "limit = state.max_batch_size")


@pytest.mark.slow
def test_at_least_nineteen_of_twenty_mutations_are_caught():
    missed = [mutation for mutation in MUTATIONS if not caught(*mutation)]
    assert len(missed) <= len(MUTATIONS) // 20, missed
