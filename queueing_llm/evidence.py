"""What an answer says about itself: status, grade of evidence, reasons."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeAlias, final

from queueing_llm._validate import Real

Limit: TypeAlias = Literal["tokens", "requests", "kv"]
"""What a capacity is limited by, in a word."""


class Status(Enum):
    """The three answers to "does this system keep up?"."""

    STABLE = "stable"
    UNSTABLE = "unstable"
    UNDECIDED = "undecided"


class Evidence(Enum):
    """How an answer is known, strongest first."""

    PROVED = "proved"
    """An exact certificate, checked again without a solver."""
    THEOREM = "theorem"
    """A published theorem, or a closed argument from it, whose hypotheses were checked."""
    NUMERICAL = "numerical"
    """A closed form or converged computation of ours, with an error bound."""
    SIMULATED = "simulated"
    """Replicated simulation, with a confidence statement."""
    NONE = "none"
    """Nothing that would carry an answer."""


@final
@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One condition that an argument needs, and what the check of it found.

    Parameters
    ----------
    name : str
        The condition, as a short sentence.
    holds : bool
        Whether it holds.
    how : str
        How it was checked, with the numbers seen.
    """

    name: str
    holds: bool
    how: str


@final
@dataclass(frozen=True, slots=True)
class CriticalRate:
    r"""The arrival rate at which one policy stops keeping up.

    Parameters
    ----------
    value : number or None
        :math:`\lambda_c` [requests/s], exact (a Fraction) where the data are; None if it is
        not known.
    low, high : number
        Below ``low`` the policy is stable and above ``high`` it is not, on the evidence
        given; both equal ``value`` for a theorem or a closed form [requests/s].
    evidence : Evidence
        How it is known.
    basis : str
        The argument in a sentence.
    hypotheses : tuple of Hypothesis
        What was checked for it.
    """

    value: Real | None
    low: Real
    high: Real
    evidence: Evidence
    basis: str
    hypotheses: tuple[Hypothesis, ...] = ()

    @classmethod
    def exactly(
        cls,
        value: Real,
        evidence: Evidence,
        *,
        basis: str,
        hypotheses: tuple[Hypothesis, ...] = (),
    ) -> "CriticalRate":
        """Return a critical rate that is known without an interval."""
        return cls(value, value, value, evidence, basis, hypotheses)


@final
@dataclass(frozen=True, slots=True)
class RequestCost:
    r"""What a request takes of an engine at the least, by what it is for.

    The parts are what it uses, at the prices that prove the capacity: prices at which no
    batch is worth more than its time. A limit that does not bind has no price. At a corner of
    the region several prices prove the same capacity, and the parts are by one of them.

    Parameters
    ----------
    prefill_seconds : number
        :math:`\pi_p E[p]`, for the tokens of the prompt [s].
    decode_seconds : number
        :math:`(\pi_d - \pi_r) E[D]`, for the tokens of the decode steps [s].
    place_seconds : number
        :math:`\pi_r E[D]`, for their places in batches whose size is limited [s].
    kv_memory_seconds : number
        :math:`\pi_m E[g]`, for the slots of the KV cache while it holds them [s].
    kv_read_seconds : number
        :math:`\pi_k G`, for the KV tokens that it reads [s].

    Examples
    --------
    >>> from queueing_llm.evidence import RequestCost
    >>> cost = RequestCost(0.02, 0.01, 0, kv_memory_seconds=0.03, kv_read_seconds=0.04)
    >>> cost.limited_by, round(cost.shares["kv_reads"], 3)
    ('kv', 0.4)
    """

    prefill_seconds: Real
    decode_seconds: Real
    place_seconds: Real
    kv_memory_seconds: Real
    kv_read_seconds: Real

    @property
    def seconds(self) -> Real:
        """The sum, the inverse of the capacity of one engine [s/request]."""
        kv = self.kv_memory_seconds + self.kv_read_seconds
        return self.prefill_seconds + self.decode_seconds + self.place_seconds + kv

    @property
    def shares(self) -> dict[str, Real]:
        """Share of the sum [1] for tokens, requests in a batch, KV memory and KV reads."""
        parts = {
            "tokens": self.prefill_seconds + self.decode_seconds,
            "requests": self.place_seconds,
            "kv_memory": self.kv_memory_seconds,
            "kv_reads": self.kv_read_seconds,
        }
        return {name: part / self.seconds for name, part in parts.items()}

    @property
    def limited_by(self) -> Limit:
        """The largest share in a word, that of the KV cache for both memory and reads."""
        shares = self.shares
        kv = shares["kv_memory"] + shares["kv_reads"]
        most = max(kv, shares["tokens"], shares["requests"])
        if shares["tokens"] == most:
            return "tokens"
        return "requests" if shares["requests"] == most else "kv"


@final
@dataclass(frozen=True, slots=True)
class Capacity:
    r"""What no policy can exceed on an engine.

    Parameters
    ----------
    requests_per_second : number
        :math:`r^\star / \bar w`; or :math:`1 / E[v]` where the step time reads the KV cache;
        or the optimum of static planning where a batch-size limit lowers it.
    tokens_per_second : number
        :math:`r^\star = \max_n n / t(n)`.
    best_batch : tuple of int
        The batch :math:`(x, y)` that attains it: prefill and decode tokens.
    is_attained : bool
        Whether some policy is known to be stable at every rate below; otherwise the number
        is only an upper bound.
    basis : str
        The argument in a sentence.
    evidence : Evidence
        How it is known that no policy exceeds it.
    cost : RequestCost or None
        What a request takes of one engine, and so what limits the rate.
    """

    requests_per_second: Real
    tokens_per_second: Real
    best_batch: tuple[int, int]
    is_attained: bool
    basis: str
    evidence: Evidence = Evidence.THEOREM
    cost: RequestCost | None = None


@final
@dataclass(frozen=True, slots=True)
class Verdict:
    r"""Whether one policy keeps an engine stable under a workload, and how it is known.

    Parameters
    ----------
    status : Status
        The answer.
    evidence : Evidence
        How the answer is known; never a higher grade than it has.
    policy : str
        Name of the policy.
    arrival_rate : number
        :math:`\lambda` [requests/s].
    critical_rate : CriticalRate
        The policy's own boundary.
    capacity : Capacity
        What no policy can exceed.
    growth : number or None
        Growth of the backlog in the fluid limit [tokens/s]: 0 if stable; None if unknown.
    reason : str
        The decisive comparison in a sentence.
    certificate : object or None
        An exact certificate, where there is one.
    """

    status: Status
    evidence: Evidence
    policy: str
    arrival_rate: Real
    critical_rate: CriticalRate
    capacity: Capacity
    growth: Real | None
    reason: str
    certificate: Any = None

    @property
    def load(self) -> Real:
        r""":math:`\rho`: arrival rate over capacity [1]."""
        return self.arrival_rate / self.capacity.requests_per_second

    @property
    def margin(self) -> Real | None:
        """Share of the policy's own critical rate that is left [1]; negative beyond it."""
        critical = self.critical_rate.value
        if critical is None or critical == 0:
            return None
        return 1 - self.arrival_rate / critical
