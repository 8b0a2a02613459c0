"""The lemmas that carry an invariant through the scan of a rule, from the state to the batch.

One lemma begins the scan; for each stage there is one about a request in it (any request:
that is the induction step) and one about its end. Each is a statement about all natural
numbers. What they assume of a state beside is :data:`FACTS`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, final

from queueing_llm.policies import BatchRule
from queueing_llm.verify.symbolic import _rule as scan
from queueing_llm.verify.symbolic._contracts import LIMITS_KEPT, Limit, Promise
from queueing_llm.verify.symbolic._goals import is_sound
from queueing_llm.verify.symbolic._paths import Path
from queueing_llm.verify.symbolic._rule import NOTES, Account, Stage

Lemma: TypeAlias = Callable[[Path], bool]

FACTS = (
    "a request stores at least 0 tokens, and a decode at least 1 and has 1 step left",
    "the requests together store at most kv_capacity tokens, in blocks of one token",
    "a sum over some of the requests is at most the sum over all",
    "whoever is preempted is newer than every resident that is not",
    "numbers of tokens and requests stay below 2^62",
)
COUNTS_RESIDENTS = "no more requests have started than max_batch_size"
IN_ORDER = "whoever waits is younger than every resident"


def assumptions(rule: BatchRule, promise: Promise) -> tuple[str, ...]:
    """Return what is assumed of the states that a promise is proved for."""
    more = [COUNTS_RESIDENTS] if rule.limit_counts == "residents" else []
    return (*FACTS, *more, *([IN_ORDER] if promise.needs_order else []))


def lemmas(
    rule: BatchRule, promise: Promise, *, limits: Sequence[Limit]
) -> Iterator[tuple[str, Lemma]]:
    """Yield the lemmas that prove a promise of a rule, by name.

    Parameters
    ----------
    rule : BatchRule
        Its stages are read off its fields.
    promise : Promise
        What is to be proved.
    limits : sequence of str
        The limits that the engine has, beside the token budget.
    """
    yield "a batch begins", lambda path: _begins(path, rule, promise, limits=limits)
    for at, stage in enumerate(scan.stages(rule)):
        where = f"stage {at + 1}, {stage.name}"
        step = {"room": _preempts, "decode": _decodes, "prefill": _prefills}[stage.name]

        def body(path: Path, stage: Stage = stage, step: _Step = step) -> bool:
            account = _within(path, rule, promise, stage=stage, limits=limits)
            after = step(path, rule, account, in_order=promise.needs_order)
            return after is not None and _holds(path, rule, promise, stage, after)

        def end(path: Path, at: int = at) -> bool:
            return _ends(path, rule, promise, at=at, limits=limits)

        yield f"{where}: one request", body
        yield f"{where}: its end", end


@final
class _Unwatched:
    """What stands for a note that nobody keeps: a goal that looks at it is an error."""

    def __bool__(self) -> bool:
        msg = "a goal or an invariant looks at a note that its promise does not watch"
        raise TypeError(msg)


_Step: TypeAlias = Callable[..., Account | None]


def _holds(
    path: Path, rule: BatchRule, promise: Promise, stage: Stage, account: Account
) -> bool:
    """Whether the invariant holds; that the limits are kept is a promise of its own."""
    if promise is LIMITS_KEPT:
        return is_sound(rule, stage, account)
    path.assume(is_sound(rule, stage, account))
    return promise.invariant(rule, stage, account)


def _begins(path: Path, rule: BatchRule, promise: Promise, *, limits: Sequence[Limit]) -> bool:
    decodes = path.natural("decodes")
    account = Account(
        **_limits(path, limits),
        decodes=decodes,
        held=path.natural("held"),
        residents=path.natural("residents"),
        watched=frozenset(promise.watches),
    )
    path.assume(account.held >= decodes and account.residents >= decodes)
    path.assume(account.capacity is None or account.held <= account.capacity)
    seats = scan.resident_limit(rule, account)
    path.assume(seats is None or account.residents <= seats)
    first = scan.stages(rule)[0]
    return _holds(path, rule, promise, first, scan.entered(first, account))


def _limits(path: Path, limits: Sequence[Limit]) -> dict[str, Any]:
    return {
        "budget": path.natural("budget", at_least=1),
        "batch_limit": (
            path.natural("batch_limit", at_least=1) if "max_batch_size" in limits else None
        ),
        "capacity": (path.natural("capacity", at_least=1) if "kv_capacity" in limits else None),
    }


def _within(
    path: Path, rule: BatchRule, promise: Promise, *, stage: Stage, limits: Sequence[Limit]
) -> Account:
    """Return an arbitrary account within a stage, where the invariant holds."""
    limited = _limits(path, limits)
    fields = [n for n in Account.__dataclass_fields__ if n not in limited and n != "watched"]
    numbers: dict[str, Any] = {
        n: path.natural(n) if n not in NOTES or n in promise.watches else _Unwatched()
        for n in fields
    }
    account = Account(**limited, **numbers, watched=frozenset(promise.watches))
    path.assume(not stage.needs_empty or stage.name != "room" or account.tokens == 0)
    path.assume(is_sound(rule, stage, account) and promise.invariant(rule, stage, account))
    return account


def _preempts(
    path: Path, rule: BatchRule, account: Account, *, in_order: bool
) -> Account | None:
    """Return the account after the newest resident gave way; None if there may be none."""
    path.assume(scan.needs_room(rule, account))
    if account.held == 0:
        return None
    stored, is_decode = path.natural("its_stored", at_least=1), path.natural("it_decodes")
    after = scan.preempted(account, stored=stored, is_decode=is_decode)
    path.assume(after.decodes >= 0 and after.held >= after.decodes)
    return after


def _decodes(path: Path, rule: BatchRule, account: Account, *, in_order: bool) -> Account:
    is_kept, steps = path.natural("is_kept"), path.natural("its_steps", at_least=1)
    _assume_more_residents(path, account)
    if is_kept:
        path.assume(account.decodes_seen < account.decodes)
    else:
        path.assume(account.lost and account.decodes_seen == account.decodes)
    return scan.after_decode(rule, account, is_kept=is_kept, decode_left=steps)[0]


def _prefills(path: Path, rule: BatchRule, account: Account, *, in_order: bool) -> Account:
    left, stored = path.natural("its_prompt", at_least=1), path.natural("its_stored")
    if stored > 0:
        _assume_more_residents(path, account, besides_decodes=1)
    elif in_order:
        to_come = account.decodes - account.decodes_seen
        path.assume(account.residents_seen + to_come >= account.residents)
    return scan.after_prompt(rule, account, left=left, stored=stored)[0]


def _assume_more_residents(path: Path, account: Account, *, besides_decodes: int = 0) -> None:
    """Assume that this resident, and the decodes to come, were not seen."""
    if "residents_seen" in account.watched:
        to_come = account.decodes - account.decodes_seen
        path.assume(account.residents_seen < account.residents)
        path.assume(account.residents_seen + to_come + besides_decodes <= account.residents)


def _ends(
    path: Path, rule: BatchRule, promise: Promise, *, at: int, limits: Sequence[Limit]
) -> bool:
    """Whether the end of a stage leads into the next one that is run, or to the goal."""
    every = scan.stages(rule)
    account = _within(path, rule, promise, stage=every[at], limits=limits)
    if every[at].name == "room":
        path.assume(not scan.needs_room(rule, account))
    if every[at].name == "decode":
        path.assume(account.decodes_seen == account.decodes)
    account = scan.left_behind(rule, every[at], account)
    if at + 1 == len(every):
        return promise.goal(account)
    following = every[at + 1]
    if following.needs_empty and account.tokens > 0:
        return promise.goal(_with_unseen(path, every[at + 1 :], account))
    return _holds(path, rule, promise, following, scan.entered(following, account))


def _with_unseen(path: Path, stages: Sequence[Stage], account: Account) -> Account:
    """Return the account with the requests of stages that are left out."""
    unseen = path.natural("unseen")
    if not unseen > 0:
        return account
    if "demand" in account.watched:
        account = replace(account, demand=account.demand + unseen)
    if stages[-1].name == "decode":
        return replace(account, decode_short=True)
    return replace(
        account,
        prompt_short=True,
        short_is_served=False,
        short_has_started=path.natural("has_started"),
        short_left=path.natural("left", at_least=1),
    )
