r"""The equilibrium of WAIT fits in memory iff its rate is within the bound on every policy.

**Setting.** A batch takes d0 + d1 (cached tokens of its members, counted at its end). Requests
of prompt l and l' decode steps arrive at rate R. KV memory C, no other limit.
**Claim.** With A the slots that a request holds over its batches and R d1 A < 1, the
equilibrium M* = d0 R A / (1 - R d1 A) is at most C iff R (d0 A / C + d1 A) <= 1, and the latter
is the bound that the package has for every policy: A / C batches at d0 each, and d1 for each
token processed or read. At the equilibrium a batch takes d0 + d1 M*. Thresholds that hold
M' = sum n A have M* <= M' if n >= R (d0 + d1 M') for every class.
**Checked here.** Identities in d0, d1, R, A, C, l, l', with the functions of the package: (1)
C - M* and 1 - R (d0 A / C + d1 A) differ by a positive factor; (2) the time of a batch; (3)
A = (l' + 1)(l + l' / 2) is the lifetime of the memory bound, and the tokens processed and read;
(4) two classes: d0 + d1 M' less the equilibrium time, times 1 - load, is what the thresholds
have to spare. The bound itself, as solved by the package, at 27 exact parameter sets.
**Not checked here.** That the factor C / (1 - R d1 A) is positive, which is read off; more
than two classes in (4). That WAIT attains the rate, which is asymptotic.
**Argument.** (1) C - M* = C (1 - R (d0 A / C + d1 A)) / (1 - R d1 A). (4) With T = d0 + d1 M'
and n_j = R_j T + e_j, e_j >= 0: T (1 - load) = d0 + d1 sum e_j A_j, so T is at least the
equilibrium time, n_j at least R_j times that, and M' at least M*.
**Source.** M*, its time and the thresholds are in arXiv:2504.11320; the identity with the
memory bound, and that M* <= M' is no condition of its own, are derived here.
"""

import itertools
from collections.abc import Callable
from fractions import Fraction

import sympy

import queueing_llm as ql
from proofs._claim import require
from queueing_llm.stability import three_resource_bound
from queueing_llm.stability.memory._chunked_lifetime import decode_lifetime
from queueing_llm.stability.memory._wait import (
    equilibrium_memory,
    equilibrium_seconds,
    stage_lifetime,
)

KIND = "identity"

Formula = Callable[[sympy.Expr, sympy.Expr], sympy.Expr]
d0, d1, R, A, C = sympy.symbols("d0 d1 R A C", positive=True)


def prove(lifetime: Formula = stage_lifetime, share: Fraction = Fraction(1)) -> int:
    """Check the identities for a lifetime and a share of d1 that reads cost."""
    load = R * d1 * A * share
    memory = equilibrium_memory(d0, load, R * A)
    bound = R * (d0 * A / C + d1 * A)
    _require_zero(C - memory - C * (1 - bound) / (1 - load), "(1) fails")
    _require_zero(equilibrium_seconds(d0, load) - (d0 + d1 * memory), "(2) fails")
    prompt, steps = sympy.symbols("l s", positive=True)
    held = prompt + decode_lifetime(prompt, steps)
    reads = prompt * steps + steps * (steps - 1) / 2
    _require_zero(lifetime(prompt, steps) - held, "(3) is not the lifetime")
    _require_zero(lifetime(prompt, steps) - (prompt + steps + reads), "(3) is not the tokens")
    return 4 + _thresholds() + _bounds(lifetime)


def _thresholds() -> int:
    rates, held, spare = (
        sympy.symbols(f"{name}1:3", positive=True) for name in ("R", "A", "e")
    )
    load = d1 * sum(rate * a for rate, a in zip(rates, held, strict=True))
    longest = (d0 + d1 * sum(e * a for e, a in zip(spare, held, strict=True))) / (1 - load)
    counts = [rate * longest + e for rate, e in zip(rates, spare, strict=True)]
    total = sum(n * a for n, a in zip(counts, held, strict=True))
    _require_zero(d0 + d1 * total - longest, "(4) is not the time of the batch")
    above = (longest - equilibrium_seconds(d0, load)) * (1 - load)
    expected = d1 * sum(e * a for e, a in zip(spare, held, strict=True))
    _require_zero(above - expected, "(4) fails")
    return 2


def _bounds(lifetime: Formula) -> int:
    """Compare the bound of the package with the formula, where nothing but memory binds."""
    values = list(itertools.product((1, 5, 12), (1, 4, 9), (30, 61, 200)))
    for prompt, steps, capacity in values:
        base, slope = Fraction(1, 50), Fraction(1, 10**4)
        engine = ql.Engine(
            step_time=ql.AffineStepTime(base, slope, slope),
            token_budget=capacity,
            kv_capacity=capacity,
        )
        load = ql.Workload.poisson(1, prompt_tokens=prompt, output_tokens=steps)
        cost = Fraction(lifetime(prompt, steps)) * (base / capacity + slope)
        bound = three_resource_bound(engine, load)
        require(bound is not None, "an affine law has a bound")
        require(bound.binding_resource == "KV memory", f"tokens bind at {prompt}, {steps}")
        require(bound.requests_per_second * cost == 1, f"another bound at {prompt}, {steps}")
    return len(values)


def _require_zero(expression: sympy.Expr, reason: str) -> None:
    require(sympy.simplify(expression) == 0, reason)


CONTROLS: tuple[Callable[[], int], ...] = (
    lambda: prove(lifetime=lambda prompt, steps: steps * (prompt + steps / 2)),
    lambda: prove(share=Fraction(1, 2)),
)
