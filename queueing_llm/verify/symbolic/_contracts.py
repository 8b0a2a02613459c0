"""The contracts of one batch that can be proved of a rule, with an invariant for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias, final

from queueing_llm.policies import BatchRule
from queueing_llm.verify.symbolic import _goals as goals
from queueing_llm.verify.symbolic._rule import Account, Stage

Limit: TypeAlias = Literal["max_batch_size", "kv_capacity"]
Goal: TypeAlias = Callable[[Account], bool]
Invariant: TypeAlias = Callable[[BatchRule, Stage, Account], bool]


@final
@dataclass(frozen=True, slots=True)
class Promise:
    """A contract of one batch that the scan of a rule may be proved to keep.

    Parameters
    ----------
    statement : str
        What holds in every state.
    goal : callable
        The statement about the account of a finished batch.
    invariant : callable
        What holds within each stage, beside that the limits are kept.
    watches : tuple of str
        Notes of the account that goal and invariant look at.
    limits : tuple of str
        Limits of the engine that it is about; without the others.
    presumes_progress : bool
        Whether a counterexample has to be a batch that is not empty.
    needs_order : bool
        Whether it is about states in which who waits is younger than who has started.
    """

    statement: str
    goal: Goal
    invariant: Invariant
    watches: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ("max_batch_size", "kv_capacity")
    presumes_progress: bool = False
    needs_order: bool = False


LIMITS_KEPT = Promise(
    "the batch keeps its limits at every stage", lambda account: True, goals.nothing_more
)
"""What every other promise rests on."""

PROMISES: Mapping[str, Promise] = MappingProxyType(
    {
        "token_budget": Promise(
            "a batch holds at most token_budget tokens",
            lambda account: bool(account.tokens <= account.budget),
            goals.nothing_more,
        ),
        "prefill_before_decode": Promise(
            "a prompt gets at most the tokens that it has left, and at least 0",
            lambda account: not account.is_overfed_prompt,
            lambda rule, stage, account: not account.is_overfed_prompt,
            watches=("is_overfed_prompt",),
        ),
        "one_decode_token": Promise(
            "a decode gets at most one token, and at least 0",
            lambda account: not account.is_overfed_decode,
            lambda rule, stage, account: not account.is_overfed_decode,
            watches=("is_overfed_decode",),
        ),
        "no_more_than_is_left": Promise(
            "no request gets more tokens than it has left",
            lambda account: not account.is_overfed_prompt and not account.is_overfed_decode,
            lambda rule, stage, account: (
                not account.is_overfed_prompt and not account.is_overfed_decode
            ),
            watches=("is_overfed_prompt", "is_overfed_decode"),
        ),
        "batch_size": Promise(
            "a batch serves at most max_batch_size requests",
            goals.batch_is_small,
            goals.members_are_residents,
            watches=("residents_seen",),
        ),
        "residents": Promise(
            "no request starts while max_batch_size requests have started",
            goals.starts_in_bounds,
            goals.starts_in_bounds_so_far,
            watches=("starting",),
        ),
        "kv_capacity": Promise(
            "what residents hold and the batch fit in kv_capacity",
            goals.cache_suffices,
            goals.nothing_more,
        ),
        "whole_prompt_fits": Promise(
            "a request starts only if its whole prompt fits in the KV cache",
            goals.whole_prompts_fit,
            goals.whole_prompts_fit_so_far,
            watches=("owed",),
        ),
        "preempts_residents": Promise(
            "only residents are preempted, and they get nothing in that batch",
            goals.victims_are_not_served,
            goals.nothing_more,
        ),
        "one_phase": Promise(
            "no batch holds tokens of both phases",
            goals.is_one_phase,
            goals.is_one_phase_so_far,
        ),
        "first_come_first_served": Promise(
            "in each phase nobody is served before an older request has all it could take",
            lambda account: not account.is_overtaken,
            goals.serves_in_order,
            watches=("is_overtaken", "decode_short", "prompt_short"),
        ),
        "progress": Promise(
            "a batch is not empty while a request is present",
            goals.works,
            goals.works_so_far,
            watches=("demand", "residents_seen"),
            limits=("max_batch_size",),
            needs_order=True,
        ),
        "work_conserving": Promise(
            "a batch holds min(token_budget, demand) tokens",
            goals.is_filled,
            goals.is_filled_so_far,
            watches=("demand",),
            limits=(),
            presumes_progress=True,
        ),
        "work_conserving_within_limits": Promise(
            "the first request of each phase that gets less than it could take is stopped by "
            "the token budget, max_batch_size, kv_capacity or a preemption",
            goals.is_filled_within_limits,
            goals.is_filled_within_limits_so_far,
            watches=(
                "decode_short",
                "prompt_short",
                "short_is_served",
                "short_has_started",
                "short_left",
            ),
            presumes_progress=True,
        ),
    }
)
"""What can be proved of rules, by the names of the contracts."""
