"""A batch rule as a scan over requests, written once for integers and for symbols.

:class:`queueing_llm.policies.BatchRule` fills arrays. Here the same rule is a list of
*stages*, read off its fields; each goes through requests one by one and keeps an account of
the batch. Run on symbols, one step of a stage stands for every step of every batch; run on
integers (``_symbolic_scan``) it is a twin of the rule.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, final

from queueing_llm.policies import BatchRule
from queueing_llm.verify.symbolic._paths import Natural

Name: TypeAlias = Literal["room", "decode", "prefill"]
Flag: TypeAlias = bool | Natural
Note: TypeAlias = Callable[[], Natural]

NOTES = (
    "demand",
    "residents_seen",
    "starting",
    "owed",
    "is_overfed_prompt",
    "is_overfed_decode",
    "is_overtaken",
    "decode_short",
    "prompt_short",
    "short_is_served",
    "short_has_started",
    "short_left",
)
"""Fields of an account that do not influence the batch."""


@final
@dataclass(frozen=True, slots=True)
class Stage:
    """One pass over requests: making room (newest first), decodes, or prompts.

    Parameters
    ----------
    name : {"room", "decode", "prefill"}
        What it does.
    needs_empty : bool
        Whether it is left out if the batch holds tokens already.
    past : tuple of {"decode", "prefill"}
        Phases that have had their turn.
    """

    name: Name
    needs_empty: bool = False
    past: tuple[str, ...] = ()


def stages(rule: BatchRule) -> tuple[Stage, ...]:
    """Return what a rule does, in order."""
    parts: dict[str, tuple[Name, ...]] = {
        "decode": ("room", "decode"),
        "prefill": ("prefill",),
    }
    second = "prefill" if rule.first == "decode" else "decode"
    beforehand = (Stage("room"),) if rule.mixed else ()
    return (
        *beforehand,
        *(Stage(name) for name in parts[rule.first]),
        *(Stage(name, not rule.mixed, past=(rule.first,)) for name in parts[second]),
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a batch in the making has used, and what was seen while making it.

    What is not ``watched`` among :data:`NOTES` is not kept up to date.
    """

    budget: Natural
    batch_limit: Natural | None
    capacity: Natural | None
    decodes: Natural
    """Decodes that are not preempted."""
    held: Natural
    """Tokens stored by who is not preempted."""
    residents: Natural
    """Requests that have started, those of this batch included."""
    prefill_tokens: Natural = 0
    decode_tokens: Natural = 0
    members: Natural = 0
    reserved: Natural = 0
    """Slots kept free for decodes."""
    lost: Flag = False
    """Whether somebody was preempted."""
    closed: Flag = False
    """Whether prompts are taken no more."""
    decodes_seen: Natural = 0
    """Of those that are not preempted."""
    watched: frozenset[str] = frozenset(NOTES)
    demand: Natural = 0
    """Tokens that the requests seen could take."""
    residents_seen: Natural = 0
    """Residents seen and requests that start in this batch."""
    starting: Natural = 0
    owed: Natural = 0
    """Prompt tokens that a request which starts in this batch is left with."""
    is_overfed_prompt: Flag = False
    is_overfed_decode: Flag = False
    is_overtaken: Flag = False
    """Whether somebody was served behind one of its phase who could take more."""
    decode_short: Flag = False
    """Whether a decode that is not preempted got nothing."""
    prompt_short: Flag = False
    """Whether a prompt got less than it could take; the next three are about the first."""
    short_is_served: Flag = False
    short_has_started: Flag = False
    short_left: Natural = 0

    @property
    def tokens(self) -> Natural:
        """Tokens in the batch."""
        return self.prefill_tokens + self.decode_tokens

    @property
    def room(self) -> Natural:
        """Tokens that the budget still allows."""
        return self.budget - self.tokens

    @property
    def free(self) -> Natural | None:
        """Free slots; None without a KV cache."""
        return None if self.capacity is None else self.capacity - self.held - self.tokens


def member_limit(rule: BatchRule, account: Account) -> Natural | None:
    return account.batch_limit if rule.limit_counts == "members" else None


def resident_limit(rule: BatchRule, account: Account) -> Natural | None:
    return account.batch_limit if rule.limit_counts == "residents" else None


def has_place(rule: BatchRule, account: Account) -> bool:
    limit = member_limit(rule, account)
    return limit is None or account.members < limit


def decodes_to_serve(rule: BatchRule, account: Account) -> Natural:
    """Return how many decodes one step may serve at most."""
    limit = member_limit(rule, account)
    most = min(account.decodes, account.budget)
    return most if limit is None else min(most, limit)


def needs_room(rule: BatchRule, account: Account) -> bool:
    """Whether somebody must be preempted."""
    free = account.free
    return free is not None and decodes_to_serve(rule, account) > free


def entered(stage: Stage, account: Account) -> Account:
    """Return the account at the beginning of a stage."""
    return replace(account, closed=account.lost) if stage.name == "prefill" else account


def left_behind(rule: BatchRule, stage: Stage, account: Account) -> Account:
    """Return the account at the end of a stage."""
    if stage.name == "prefill":
        return account
    reserved = decodes_to_serve(rule, account) if stage.name == "room" else 0
    return replace(account, reserved=reserved)


def preempted(account: Account, *, stored: Natural, is_decode: Flag) -> Account:
    """Return the account after the newest resident has lost its cache."""
    decodes = account.decodes - 1 if is_decode else account.decodes
    return replace(account, decodes=decodes, held=account.held - stored, lost=True)


def decode_take(rule: BatchRule, account: Account) -> int:
    """Return what a decode gets that is not preempted."""
    return 1 if account.room > 0 and has_place(rule, account) else 0


def prompt_take(
    rule: BatchRule, account: Account, *, left: Natural, stored: Natural
) -> Natural | None:
    """Return what a prompt gets; None if neither it nor those behind it are taken."""
    limit = resident_limit(rule, account)
    take = min(left, account.room)
    if account.closed or (stored == 0 and limit is not None and account.residents >= limit):
        return None
    free = account.free
    if free is not None:
        slots = free - account.reserved
        if stored == 0 and left > slots:
            return None
        take = min(take, slots)
    if not has_place(rule, account) or take <= 0 or (take < left and not rule.chunked):
        return None
    return take


def after_decode(
    rule: BatchRule, account: Account, *, is_kept: Flag, decode_left: Natural
) -> tuple[Account, Natural]:
    """Return the account after one decode was seen, and what it gets."""
    take = decode_take(rule, account) if is_kept else 0
    notes: dict[str, Note] = {
        "demand": lambda: account.demand + 1,
        "residents_seen": lambda: account.residents_seen + 1,
        "is_overfed_decode": lambda: (
            account.is_overfed_decode or take > min(1, decode_left) or take < 0
        ),
        "is_overtaken": lambda: account.is_overtaken or (take > 0 and account.decode_short),
        "decode_short": lambda: account.decode_short or (is_kept and take == 0),
    }
    after = replace(
        account,
        decode_tokens=account.decode_tokens + take,
        members=account.members + (1 if take > 0 else 0),
        decodes_seen=account.decodes_seen + (1 if is_kept else 0),
    )
    return _noted(after, notes), take


def after_prompt(
    rule: BatchRule, account: Account, *, left: Natural, stored: Natural
) -> tuple[Account, Natural]:
    """Return the account after one prompt was seen, and what it gets."""
    answer = prompt_take(rule, account, left=left, stored=stored)
    take = 0 if answer is None else answer
    is_served = take > 0
    starts = 1 if stored == 0 and is_served else 0
    notes: dict[str, Note] = {
        "demand": lambda: account.demand + left,
        "residents_seen": lambda: account.residents_seen + (starts if stored == 0 else 1),
        "starting": lambda: account.starting + starts,
        "owed": lambda: left - take if starts and take < left else account.owed,
        "is_overfed_prompt": lambda: account.is_overfed_prompt or take > left or take < 0,
        "is_overtaken": lambda: account.is_overtaken or (is_served and account.prompt_short),
    }
    if "prompt_short" in account.watched and not account.prompt_short and take < left:
        notes |= {
            "prompt_short": lambda: True,
            "short_is_served": lambda: is_served,
            "short_has_started": lambda: is_served or stored > 0,
            "short_left": lambda: left,
        }
    after = replace(
        account,
        prefill_tokens=account.prefill_tokens + take,
        members=account.members + (1 if is_served else 0),
        residents=account.residents + starts,
        closed=account.closed or answer is None,
    )
    return _noted(after, notes), take


def _noted(account: Account, notes: Mapping[str, Note]) -> Account:
    noted = {name: note() for name, note in notes.items() if name in account.watched}
    return replace(account, **noted)
