"""The contracts without a parameter: what is promised, where it stands, what it implies."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from queueing_llm.policies import EngineState
from queueing_llm.verify.contracts import _batch as batch
from queueing_llm.verify.contracts import _policy as policy
from queueing_llm.verify.contracts import _replay as replay
from queueing_llm.verify.contracts import _run as run
from queueing_llm.verify.contracts._contract import BatchCheck, Contract, everywhere

PAPER = "arXiv:2504.07347v3"
LEGAL = "legal batches"


def is_unlimited(state: EngineState) -> bool:
    """Whether the token budget is the only limit."""
    return state.max_batch_size is None and state.kv_capacity is None


def is_limited(state: EngineState) -> bool:
    """Whether there is a limit besides the token budget."""
    return not is_unlimited(state)


def has_batch_limit(state: EngineState) -> bool:
    """Whether there is a batch-size limit."""
    return state.max_batch_size is not None


def has_cache_limit(state: EngineState) -> bool:
    """Whether there is a KV cache that can fill up."""
    return state.kv_capacity is not None


def has_company(state: EngineState) -> bool:
    """Whether more than one request is present."""
    return len(state.request) > 1


def has_newcomer(state: EngineState) -> bool:
    """Whether a request waits behind others."""
    return len(state.request) > 1 and bool(state.stored[-1] == 0)


def has_prompts(state: EngineState) -> bool:
    """Whether a prompt is not done."""
    return bool(np.any(state.prompt_left > 0))


def has_decodes_and_prompts(state: EngineState) -> bool:
    """Whether both phases are present."""
    return has_prompts(state) and has_decodes(state)


def has_decodes(state: EngineState) -> bool:
    """Whether a request decodes."""
    return bool(np.any(state.prompt_left == 0))


def _contract(
    about: Literal["batch", "policy", "run"],
    check: Callable[..., Any],
    definition: str,
    source: str,
    implies: str,
    *,
    applies: Callable[[EngineState], bool] = everywhere,
    is_needed: bool = False,
    presumes: BatchCheck | None = None,
    needs_end: bool = False,
) -> Contract:
    """Return a contract that has the name of its check."""
    name = check.__name__
    return Contract(
        name,
        definition,
        source,
        implies,
        about,
        check,
        applies=applies,
        is_needed=is_needed,
        presumes=presumes,
        needs_end=needs_end,
        replayed=getattr(replay, name) if about == "policy" else None,
    )


_ALL = (
    _contract(
        "run",
        run.answers,
        "Every state is answered by a Batch of nonnegative integers, without an exception.",
        "ours",
        LEGAL,
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.token_budget,
        "A batch holds at most token_budget tokens.",
        f"(6d) of {PAPER}",
        LEGAL,
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.prefill_before_decode,
        "A request gets nothing but prompt tokens while prompt tokens are left.",
        f"(6a) of {PAPER}",
        LEGAL,
        applies=has_prompts,
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.one_decode_token,
        "A request whose prompt is done gets at most one token per batch.",
        f"(6c) of {PAPER}",
        LEGAL,
        applies=has_decodes,
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.no_more_than_is_left,
        "A request gets no more tokens than it has left.",
        f"section 2.3 of {PAPER}",
        LEGAL + ", tokens are conserved",
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.batch_size,
        "A batch serves at most max_batch_size requests.",
        f"section 5 of {PAPER}",
        LEGAL,
        applies=has_batch_limit,
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.kv_capacity,
        "What residents hold, and the batch, fit in kv_capacity.",
        "ours",
        LEGAL,
        applies=has_cache_limit,
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.preempts_residents,
        "Only residents are preempted, and they get nothing in that batch.",
        "ours",
        LEGAL,
        is_needed=True,
    ),
    _contract(
        "run",
        run.only_reads,
        "The policy does not change the state that it is asked about.",
        "ours",
        "a policy is a function of its state",
        is_needed=True,
    ),
    _contract(
        "policy",
        policy.deterministic,
        "The same state has the same answer, whatever was asked in between.",
        "ours",
        "a policy is a function of its state",
        is_needed=True,
    ),
    _contract(
        "policy",
        policy.blind_to_numbers,
        "The answer depends on the order of the requests, not on their numbers.",
        "ours",
        "a policy needs no more than the state: no clock and no list of arrivals",
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.progress,
        "A batch is not empty while a request is present.",
        f"(8)-(9) of {PAPER}",
        "the engine never idles with work present",
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.work_conserving,
        "Without other limits, a batch holds min(token_budget, demand) tokens.",
        f"(8)-(9) of {PAPER}",
        f"Theorem 2(b) of {PAPER}: with first_come_first_served, throughput-optimal",
        applies=is_unlimited,
        is_needed=True,
        presumes=batch.progress,
    ),
    _contract(
        "batch",
        batch.first_come_first_served,
        "In each phase no request is served before an older one has all it could take.",
        f"K-FCFS of {PAPER} with K = 1, as read here",
        "at most one prompt is partly processed",
        applies=has_company,
        is_needed=True,
    ),
    _contract(
        "run",
        run.finishes,
        "Every finite list of requests is finished.",
        "ours",
        "no livelock and no request that is never served",
        is_needed=True,
        needs_end=True,
    ),
    _contract(
        "run",
        run.conservation,
        "A scheduler calls a request done exactly when nothing of it is left.",
        "ours",
        LEGAL + ", tokens are conserved and as many are generated as were asked for",
        is_needed=True,
    ),
    _contract(
        "batch",
        batch.work_conserving_within_limits,
        "Nobody gets less than it could take while budget, batch-size limit and KV cache "
        "leave room.",
        "ours",
        "capacity is lost to the limits only",
        applies=is_limited,
        presumes=batch.progress,
    ),
    _contract(
        "batch",
        batch.oldest_first,
        "The oldest request present gets a token in every batch that holds one.",
        "ours",
        "no starvation: a request waits at most as many steps as older ones have tokens left, "
        "recomputation included",
        applies=has_company,
    ),
    _contract(
        "batch",
        batch.stall_free,
        "No decode waits while a prompt is processed.",
        "section 4 of arXiv:2403.02310, there stall-free batching",
        "prompts never delay the next token of a request that decodes, except by a longer step",
        applies=has_decodes_and_prompts,
    ),
    _contract(
        "policy",
        policy.blind_to_the_young,
        "The arrival of a younger request takes nothing from older ones.",
        "ours",
        "more arrivals delay nobody who is already there",
        applies=has_newcomer,
    ),
    _contract(
        "policy",
        policy.blind_to_output_lengths,
        "The answer does not depend on how many tokens are still to be decoded.",
        "ours",
        "the policy runs on an engine that does not know output lengths",
    ),
    _contract(
        "batch",
        batch.residents,
        "No request starts while max_batch_size requests have started.",
        "ours, the other reading of the limit",
        "at most max_batch_size requests hold KV cache",
        applies=has_batch_limit,
    ),
    _contract(
        "batch",
        batch.whole_prompt_fits,
        "A request starts only if its whole prompt fits in the KV cache.",
        "ours",
        "no prompt is cut off by a full cache",
        applies=has_cache_limit,
    ),
    _contract(
        "batch",
        batch.preempts_nobody,
        "No request loses its KV cache.",
        "ours",
        "nothing is computed twice",
    ),
    _contract(
        "batch",
        batch.preempts_on_overflow,
        "Requests are preempted only if the batch would overflow the KV cache with them.",
        "ours",
        "nothing is computed twice without need",
    ),
    _contract(
        "batch",
        batch.admits_without_victims,
        "No request starts in a batch for which another one is preempted.",
        "ours",
        "no request takes the place of another one that has to come back",
        applies=has_cache_limit,
    ),
    _contract(
        "batch",
        batch.newest_preempted_first,
        "No request is preempted while a newer resident stays.",
        "ours",
        "the oldest resident is never preempted, so it finishes",
        applies=has_cache_limit,
    ),
)

CONTRACTS: Mapping[str, Contract] = MappingProxyType({found.name: found for found in _ALL})
"""Every contract without a parameter, by name; those that optimality needs come first."""
