"""Work-conserving engines drift home: the constants of Foster's drift, for Poisson arrivals.

**Setting.** Requests of independent work w, at most w_max tokens, of which at most D are
decodes, arrive at rate lambda; batches hold min(b, demand) tokens; no limit but the budget b
binds. V is the backlog at the end of a batch, T = t(b), t_m = max t(n), alpha = lambda E[w] T
below b, alpha_m = lambda E[w] t_m, B = (b - 1) w_max.
**Claim.** Above B every batch is full; then V changes on average by alpha - b and V^2 by
K1 - 2 V (b - alpha), K1 = lambda T E[w^2] + (b - alpha)^2. Below, V^2 grows on average by at
most K0 = lambda t_m E[w^2] + alpha_m^2 + max(2 B alpha_m, 2 E[w] alpha_m + E[w^2]). So
E[V] <= B + max(K0, K1) / (2 (b - alpha)), and from V_0 > B it takes on average between
(V_0 - B) / (b - alpha) and (V_0 - B + b - 1) / (b - alpha) batches until V <= B.
**Checked here.** That the shipped rules fill the batch, on every state above B of at most b + 1
small requests, b up to 3; the identities behind all constants, as polynomials, the moments of
what arrives from its generating function; that every constant of the shipped ``foster_drift``
is the one claimed, in one exact example.
**Not checked here.** Foster's theorem: a mean that changes by at most K - 2 (b - alpha) (V - B)
in every state makes E[V] at most B + K / (2 (b - alpha)). Optional stopping for the return.
**Argument.** N requests hold at most N w_max tokens and demand at least N, so V > (b - 1) w_max
makes N > b - 1. (Indeed V <= (1 + D) demand, so (b - 1) (1 + D) would do.) Above B,
V' = V - b + A. Below, V' <= V + A, or w + A if the engine idled until a request came. The batch
that ends the return began above B, so it leaves at least B + 1 - b.
**Source.** Theorem 2(b) of arXiv:2504.07347v3; the constants are derived here.
"""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import sympy

import queueing_llm as ql
from proofs._claim import NotProved, require

KIND = "theorem"

FILLING = (ql.SARATHI, ql.ORCA, ql.VLLM_V1)

rate, T, t, b, B, V, n, first, second = sympy.symbols("rate T t b B V n E_w E_w2")


def prove(
    *,
    rules: tuple[ql.Policy, ...] = FILLING,
    lowered: int = 0,
    factor: sympy.Expr = sympy.S.One,
) -> int:
    """Check the batches above B, the moments, the identities, and the shipped constants."""
    comparisons = _check_full_batches(rules, lowered=lowered)
    return comparisons + _check_moments() + _check_identities(factor) + _check_shipped()


def _check_full_batches(rules: tuple[ql.Policy, ...], *, lowered: int) -> int:
    """Check every state above B, and that the demand bounds the backlog in each."""
    comparisons = 0
    for budget, longest_prompt, most_decodes in itertools.product((1, 2, 3), (1, 2), (1, 2)):
        exceptional = (budget - 1) * (longest_prompt + most_decodes) - lowered
        for state in _states(budget, longest_prompt, most_decodes):
            backlog = int(state.prompt_left.sum() + state.decode_left.sum())
            require(backlog <= (1 + most_decodes) * state.demand, "the demand is too small")
            comparisons += 1
            if backlog <= exceptional:
                continue
            for rule in rules:
                tokens = int(rule(state).tokens.sum())
                require(tokens == budget, f"{rule} gives {tokens} of {budget} in {state}")
                comparisons += 1
    return comparisons


def _states(budget: int, longest_prompt: int, most_decodes: int) -> Iterator[ql.EngineState]:
    """Yield every state of at most b + 1 requests, decodes first in order of arrival."""
    waiting = [(p, most_decodes) for p in range(longest_prompt, 0, -1)]
    decoding = [(0, d) for d in range(1, most_decodes + 1)]
    for count in range(1, budget + 2):
        for requests in itertools.product(decoding + waiting, repeat=count):
            prompts = [prompt for prompt, _ in requests]
            if any(prompts[: prompts.count(0)]):
                continue
            stored = [int(prompt < longest_prompt) for prompt in prompts]
            yield ql.EngineState(
                request=np.arange(count),
                class_index=np.zeros(count, dtype=np.int64),
                prompt_left=np.array(prompts, dtype=np.int64),
                decode_left=np.array([decode for _, decode in requests], dtype=np.int64),
                stored=np.array(stored, dtype=np.int64),
                token_budget=budget,
            )


def _check_moments() -> int:
    """Derive the moments of the work that arrives in T, for any law of w on three values."""
    z, *values = sympy.symbols("z w1 w2 w3")
    shares = sympy.symbols("q1 q2 q3")
    law = list(zip(shares, values, strict=True))
    arriving = sympy.exp(rate * T * (sum(q * z**w for q, w in law) - sum(shares)))
    mean = sympy.diff(arriving, z).subs(z, 1)
    square = sympy.diff(z * sympy.diff(arriving, z), z).subs(z, 1)
    moments = {first: sum(q * w for q, w in law), second: sum(q * w**2 for q, w in law)}
    require(_same(mean, _mean(T).subs(moments)), "the mean of what arrives is another one")
    require(_same(square, _square(T).subs(moments)), "its second moment is another one")
    return 2


def _mean(seconds: sympy.Expr) -> sympy.Expr:
    return rate * first * seconds


def _square(seconds: sympy.Expr) -> sympy.Expr:
    return rate * seconds * second + (rate * first * seconds) ** 2


def _check_identities(factor: sympy.Expr) -> int:
    """Check that each claimed bound exceeds what it bounds by nonnegative terms."""
    d, w, A, K, K0 = sympy.symbols("d w A K K0")
    alpha, alpha_m = _mean(T), _mean(t + d)
    k1 = rate * T * second + factor * (b - alpha) ** 2
    full = (V - b) ** 2 + 2 * (V - b) * alpha + _square(T) - V**2
    partial = (V - n) ** 2 + 2 * (V - n) * _mean(t) + _square(t) - V**2
    later = rate * d * second + _mean(d) * (alpha_m + _mean(t))
    room = 2 * (B - V + n) * alpha_m + 2 * (V - n) * _mean(d)
    limit = K - 2 * (b - alpha) * (V - B)
    for name, one, other in (
        ("above B", full, k1 - 2 * V * (b - alpha)),
        (
            "below B",
            _square(t + d) + 2 * B * alpha_m - partial,
            later + n * (V + (V - n)) + room,
        ),
        ("after idling", (w + A) ** 2 - (w - n + A) ** 2, n * ((w + A) + (w - n + A))),
        ("Foster above", limit - (k1 - 2 * V * (b - alpha)), (K - k1) + 2 * (b - alpha) * B),
        ("Foster below", limit - K0, (K - K0) + 2 * (b - alpha) * (B - V)),
    ):
        require(_same(one, other), f"the identity {name} fails")
    return 5


def _same(one: sympy.Expr, other: sympy.Expr) -> bool:
    return sympy.expand(one - other) == 0


def _check_shipped() -> int:
    """Compare the shipped constants with the claimed ones; here t(3) exceeds t(4)."""
    step = ql.TableStepTime.of_tokens(range(1, 5), (2, 4, 6, 5))
    lengths = ql.IndependentLengths(ql.UniformLength(1, 2), ql.UniformLength(1, 3))
    load = ql.Workload.of(ql.PoissonArrivals(Fraction(1, 7)), lengths)
    found = ql.foster_drift(ql.Engine(step_time=step, token_budget=4), load, policy=ql.SARATHI)
    if found is None:
        reason = "nothing is claimed for the example"
        raise NotProved(reason)
    work = [p + d for p in (1, 2) for d in (1, 2, 3)]
    mean, square = Fraction(sum(work), 6), Fraction(sum(w * w for w in work), 6)
    alpha, alpha_m, exceptional = mean * 5 / 7, mean * 6 / 7, 3 * max(work)
    k0 = square * 6 / 7 + alpha_m**2
    k0 += max(2 * exceptional * alpha_m, 2 * mean * alpha_m + square)
    k1 = square * 5 / 7 + (4 - alpha) ** 2
    require(found.exceptional_tokens == exceptional, "B is another one")
    require(found.drift == alpha - 4, "the drift is another one")
    upper = exceptional + max(k0, k1) / (2 * (4 - alpha))
    require(found.upper_bound == upper, "the bound on the mean is another one")
    back = found.return_seconds(exceptional + 1) / 5
    require(back == 4 / (4 - alpha), "the time to return is another one")
    return 4


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(rules=(ql.VANILLA_VLLM,)),
    lambda: prove(rules=(ql.ORCA.variant(chunked=False),)),
    lambda: prove(lowered=1),
    lambda: prove(factor=1 - sympy.Rational(1, 10**9)),
)
