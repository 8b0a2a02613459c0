"""Sarathi and Orca fill every batch to min(budget, demand); the exclusive rules do not.

**Setting.** A ``BatchRule`` on an engine with no limit but the token budget b. The demand of a
state is the sum over its requests of the prompt tokens left, or 1 for a decode.
**Claim.** SARATHI, ORCA and VLLM_V1 give exactly min(b, demand) tokens in every state.
FASTER_TRANSFORMER, VANILLA_VLLM and whole-prompt ORCA do not; the smallest state that shows it
has two requests.
**Checked here.** The shipped rules themselves, on every state of at most 3 requests with at
most 3 prompt tokens left, some of them resident, and every budget up to 10; the induction
step below as identities between real numbers, so for all states and budgets; and that no
state of one request is a witness against FASTER_TRANSFORMER or VANILLA_VLLM.
**Not checked here.** That the rules serve request after request as the argument says, beyond
the states above; it is read off their code.
**Argument.** Induction over the requests. Both phases take them in order, each as many tokens
as min(cap, room), with cap = prompt left or 1. So room - min(cap, room) = max(0, room - cap)
is left, and if room = max(0, b - S) after caps of sum S >= 0, that is max(0, b - S - cap).
After all requests of both phases the batch holds b - max(0, b - demand) = min(b, demand)
tokens.
**Source.** (8)-(9) of arXiv:2504.07347v3; Table 1.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import sympy

import queueing_llm as ql
from proofs._claim import require

KIND = "theorem"

FILLING = (ql.SARATHI, ql.ORCA, ql.VLLM_V1)
BREAKING = (ql.FASTER_TRANSFORMER, ql.VANILLA_VLLM, ql.ORCA.variant(chunked=False))


def _smaller(left: Any, right: Any) -> Any:
    return (left + right - sympy.Abs(left - right)) / 2


def _positive(value: Any) -> Any:
    return (value + sympy.Abs(value)) / 2


def prove(filling: tuple[ql.Policy, ...] = FILLING) -> int:
    """Check the rules on all small states, the induction step, and the witnesses."""
    comparisons = 0
    for state in _states(most_requests=3):
        for rule in filling:
            tokens = int(rule(state).tokens.sum())
            wanted = min(state.token_budget, state.demand)
            require(tokens == wanted, f"{rule} gives {tokens}, not {wanted}, in {state}")
            comparisons += 1
    comparisons += _induction()
    for rule in BREAKING:
        require(smallest_witness(rule) is not None, f"{rule} has no witness")
        comparisons += 1
    for rule in BREAKING[:2]:
        lone = [s for s in _states(most_requests=1) if _leaves_room(rule, s)]
        fits = [s for s in lone if s.prompt_left[0] <= s.token_budget]
        require(not fits, f"one request is a witness against {rule}: {fits[:1]}")
        comparisons += 1
    return comparisons


def _induction(taken: Callable[[Any, Any], Any] = _smaller) -> int:
    """Check that ``room`` falls to max(0, room - cap), and that max(0, .) is then nested."""
    cap, room, demand = sympy.symbols("cap room demand", real=True)
    step = (room - taken(cap, room)) - _positive(room - cap)
    require(sympy.expand(step) == 0, "the induction step fails")
    held, more = sympy.symbols("held more", nonnegative=True)
    for left in (held, -held):
        nested = _positive(_positive(left) - more) - _positive(left - more)
        require(sympy.expand(nested) == 0, f"max(0, .) is not nested at {left}")
    filled = (room - _positive(room - demand)) - _smaller(room, demand)
    require(sympy.expand(filled) == 0, "the batch does not hold min(b, demand)")
    return 4


def smallest_witness(rule: ql.Policy) -> ql.EngineState | None:
    """Return the first state, fewest requests and tokens first, that the rule does not fill."""
    found = (s for s in _states(most_requests=2) if len(s.request) == 2)
    return next((s for s in found if _leaves_room(rule, s)), None)


def _leaves_room(rule: ql.Policy, state: ql.EngineState) -> bool:
    return int(rule(state).tokens.sum()) < min(state.token_budget, state.demand)


def _states(most_requests: int) -> Iterator[ql.EngineState]:
    """Yield every small state: decodes first in order of arrival, then at most one partial."""
    for count in range(1, most_requests + 1):
        for prompts in itertools.product(range(4), repeat=count):
            decodes = prompts.count(0)
            if any(prompts[:decodes]):
                continue
            for partial, budget in itertools.product((0, 1), range(1, 11)):
                stored = np.array([int(i < decodes + partial) for i in range(count)])
                yield ql.EngineState(
                    request=np.arange(count),
                    class_index=np.zeros(count, dtype=np.int64),
                    prompt_left=np.array(prompts, dtype=np.int64),
                    decode_left=np.full(count, 2, dtype=np.int64),
                    stored=stored.astype(np.int64),
                    token_budget=budget,
                )


CONTROLS: tuple[Callable[[], int], ...] = (
    *(lambda rule=rule: prove(filling=(rule,)) for rule in BREAKING),
    lambda: _induction(taken=lambda cap, room: cap),
)
