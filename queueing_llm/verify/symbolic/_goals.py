"""What a batch must come to, and what the scan of a rule keeps true on the way there.

A goal is about the account of a finished batch; run on integers it says whether that batch
keeps the contract. An invariant, named so far, is about the account within a stage, before
each request.
"""

from queueing_llm.policies import BatchRule
from queueing_llm.verify.symbolic._paths import Natural
from queueing_llm.verify.symbolic._rule import (
    Account,
    Stage,
    decodes_to_serve,
    has_place,
    member_limit,
    resident_limit,
)


def is_sound(rule: BatchRule, stage: Stage, account: Account) -> bool:
    """Whether all limits are kept so far, as they are in every stage of every rule."""
    if not _decodes_are_seen_in_turn(stage, account):
        return False
    limit = member_limit(rule, account)
    return bool(
        account.decode_tokens <= account.decodes_seen <= account.decodes
        and account.decode_tokens <= account.members <= account.tokens <= account.budget
        and (limit is None or account.members <= limit)
        and not (account.lost and account.prefill_tokens > 0)
        and not (stage.name == "prefill" and account.lost and not account.closed)
        and ("prefill" in (stage.name, *stage.past) or not account.closed)
        and _slots_suffice(rule, stage, account)
    )


def _decodes_are_seen_in_turn(stage: Stage, account: Account) -> bool:
    if "decode" in stage.past:
        return bool(account.decodes_seen == account.decodes)
    return stage.name == "decode" or bool(account.decodes_seen == 0)


def _slots_suffice(rule: BatchRule, stage: Stage, account: Account) -> bool:
    free = account.free
    if free is None:
        return not account.lost
    if account.held < account.decodes or free < 0:
        return False
    if stage.name == "prefill" and "decode" in stage.past:
        return bool(account.reserved == 0)
    if stage.name == "room" and not stage.past:
        return bool(account.prefill_tokens == 0)
    if stage.name != "decode" and not rule.mixed:
        # An exclusive rule makes room for decodes only beside an empty batch.
        return bool(account.reserved == 0 and (stage.name != "room" or account.tokens == 0))
    # There were slots for all decodes of the batch before the first was served.
    wanted = decodes_to_serve(rule, account)
    return bool(account.reserved == wanted and wanted <= free + account.decode_tokens)


def nothing_more(rule: BatchRule, stage: Stage, account: Account) -> bool:
    return True


def batch_is_small(account: Account) -> bool:
    return account.batch_limit is None or bool(account.members <= account.batch_limit)


def members_are_residents(rule: BatchRule, stage: Stage, account: Account) -> bool:
    limit = resident_limit(rule, account)
    return bool(
        account.members <= account.residents_seen <= account.residents
        and (limit is None or account.residents <= limit)
    )


def starts_in_bounds(account: Account) -> bool:
    limit = account.batch_limit
    return limit is None or bool(account.starting == 0 or account.residents <= limit)


def starts_in_bounds_so_far(rule: BatchRule, stage: Stage, account: Account) -> bool:
    return starts_in_bounds(account)


def cache_suffices(account: Account) -> bool:
    free = account.free
    return free is None or bool(free >= 0)


def whole_prompts_fit(account: Account) -> bool:
    free = account.free
    return free is None or bool(account.owed == 0 or account.owed <= free)


def whole_prompts_fit_so_far(rule: BatchRule, stage: Stage, account: Account) -> bool:
    return bool(account.owed == 0 or (account.room == 0 and whole_prompts_fit(account)))


def victims_are_not_served(account: Account) -> bool:
    # Decodes that are preempted are passed over by the scan.
    return not account.lost or bool(account.prefill_tokens == 0)


def is_one_phase(account: Account) -> bool:
    return bool(account.prefill_tokens == 0 or account.decode_tokens == 0)


def is_one_phase_so_far(rule: BatchRule, stage: Stage, account: Account) -> bool:
    other = account.decode_tokens if stage.name == "prefill" else account.prefill_tokens
    return bool(other == 0)


def serves_in_order(rule: BatchRule, stage: Stage, account: Account) -> bool:
    if account.is_overtaken or not _notes_are_fresh(stage, account):
        return False
    if stage.name == "decode" and account.decode_short:
        return bool(account.room == 0 or not has_place(rule, account))
    if stage.name != "prefill" or not account.prompt_short or account.closed:
        return True
    free = account.free
    return bool(account.room == 0 or (free is not None and free <= account.reserved))


def _notes_are_fresh(stage: Stage, account: Account) -> bool:
    """Whether nobody of a phase that is still to come is noted to have got too little."""
    begun = (stage.name, *stage.past)
    return not ("decode" not in begun and account.decode_short) and not (
        "prefill" not in begun and account.prompt_short
    )


def works(account: Account) -> bool:
    return account.demand == 0 or bool(account.tokens > 0)


def works_so_far(rule: BatchRule, stage: Stage, account: Account) -> bool:
    """Whether something is served, or nothing could be yet, or a decode is still to come."""
    if account.tokens > 0:
        return True
    if account.demand == 0 and not account.closed:
        return bool(account.residents_seen == 0)
    to_come = account.decodes - account.decodes_seen
    return bool(to_come > 0 and account.residents_seen + to_come >= account.residents)


def is_filled(account: Account) -> bool:
    return bool(account.tokens == min(account.budget, account.demand))


def is_filled_so_far(rule: BatchRule, stage: Stage, account: Account) -> bool:
    stops = stage.name == "prefill" and bool(account.closed)
    return is_filled(account) and not (stops and account.room > 0)


def is_filled_within_limits(account: Account) -> bool:
    return _is_excused(account, account.free)


def is_filled_within_limits_so_far(rule: BatchRule, stage: Stage, account: Account) -> bool:
    if not _notes_are_fresh(stage, account):
        return False
    free = account.free
    if free is not None:
        # Slots are reserved for decodes until the last of them has been served.
        used = account.decode_tokens if stage.name == "decode" else 0
        free = free - account.reserved + used
    if account.room == 0 or account.lost:
        return True
    if stage.name == "prefill" and account.closed and not account.prompt_short:
        return False
    if not account.decode_short:
        is_stopped = bool(account.decode_tokens == account.decodes_seen)
    else:
        limit = account.batch_limit
        is_stopped = limit is not None and bool(account.members >= limit)
    return is_stopped and _is_excused(account, free)


def _is_excused(account: Account, free: Natural | None) -> bool:
    """Whether a limit stopped the first request of each phase that got too little."""
    limit = account.batch_limit
    if account.room == 0 or account.lost:
        return True
    is_full = limit is not None and bool(account.members >= limit)
    if account.decode_short and not is_full and (free is None or free >= 1):
        return False
    if not account.prompt_short or (is_full and not account.short_is_served):
        return True
    if account.short_has_started:
        return free is not None and bool(free < 1)
    has_no_seat = limit is not None and bool(account.residents >= limit)
    return has_no_seat or (free is not None and bool(free < account.short_left))
