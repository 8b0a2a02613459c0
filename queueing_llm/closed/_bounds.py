r"""What the throughput of a closed system cannot exceed, and what it surely reaches.

**From above.** Of :math:`N` users each spends :math:`Z + R` per request, and a response takes
no less than that of a request alone: :math:`X \le N / (Z + R_1)`. And no policy exceeds the
capacity of an engine; with :math:`N` users no batch has more than :math:`N` requests.

**From below.** Count the time that users are present. Let :math:`t(x, y, K) \le c
+ \beta_p x + \beta_d y + \gamma K` for every batch. At most :math:`N` are present in a batch,
so over a long time the tokens of one request cost users no more than :math:`N (\beta_p p
+ \beta_d D + \gamma G)`; and :math:`c` is paid by whoever is present, in :math:`A` batches for
each request, so that :math:`N \le X (Z + A c + N (\beta_p p + \beta_d D + \gamma G))`.

Under a rule that mixes phases and splits prompts a batch is *full* (:math:`b` tokens), *packed*
(:math:`k_{max}` requests, all of which decode or end their prompt), or gives everybody
present a decode step or the end of the prompt. Of the last kind a request sees at most
:math:`1 + D`; of the others there are at most :math:`w / b` and :math:`(1 + D) / k_{max}` per
request, each seen by at most :math:`N`. Someone who thinks comes in the middle of one batch:

.. math:: A = 1 + D + 1_{Z > 0} + N \frac{w}{b} + N \frac{1 + D}{k_{max}},

without the last terms where such batches cannot be. Under a rule that prefills first and does
not mix, :math:`A = D + 1_{Z > 0} + N (1 + p / b) + N D / \hat d`; under any other rule each
batch does something, and :math:`A = N (1 + D + p / b)`. Whole prompts need no :math:`p / b`.
Ours. As :math:`N` grows the first tends to the rate of full batches, :math:`1 / E[v]`.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from queueing_llm.closed._alone import least_response
from queueing_llm.closed._crowd import crowd_of
from queueing_llm.closed._linear_laws import (
    ExtremeBatches,
    greatest_minorant,
    least_majorant,
)
from queueing_llm.closed._memory import memory_never_binds
from queueing_llm.evidence import Hypothesis
from queueing_llm.model import Engine, Workload
from queueing_llm.policies import BatchRule, Policy
from queueing_llm.stability import capacity


@final
@dataclass(frozen=True, slots=True)
class ThroughputBounds:
    """Between what and what a throughput lies.

    Parameters
    ----------
    low, high : float
        Bounds [requests/s]; ``low`` is 0 where none is proved.
    alone : float
        The least mean response time [s].
    most : float
        What no number of users exceeds [requests/s].
    hypotheses : tuple of Hypothesis
        What the bounds rest on, and what was found.
    """

    low: float
    high: float
    alone: float
    most: float
    hypotheses: tuple[Hypothesis, ...]


def throughput_bounds(engine: Engine, workload: Workload, policy: Policy) -> ThroughputBounds:
    """Return bounds on the throughput of a closed system."""
    crowd = crowd_of(workload)
    users, think = crowd.users, float(crowd.think_time)
    most = _most(engine, workload, policy, requests=engine.token_budget)
    with_users = _most(engine, workload, policy, requests=users)
    preempts = not memory_never_binds(engine, workload)
    alone, is_monotone = least_response(engine, workload, policy, preempts=preempts)
    high = min(most, with_users, users / (think + alone))
    hypotheses = _hypotheses(engine, workload, policy, is_monotone=is_monotone)
    low = 0.0
    if all(h.holds for h in hypotheses[1:]):
        assert isinstance(policy, BatchRule)
        low = users / (think + _most_present(engine, workload, policy))
    return ThroughputBounds(min(low, high), high, alone, most, hypotheses)


def _most(engine: Engine, workload: Workload, policy: Policy, *, requests: int) -> float:
    """Return a rate that no number of users exceeds with so many requests in a batch."""
    if not isinstance(policy, BatchRule) or not memory_never_binds(engine, workload):
        # Who is preempted may compute tokens again instead of reading them.
        return float(capacity(engine, workload).requests_per_second)
    places = min(requests, engine.max_batch_size or requests)
    moments = workload.moments
    use = (
        moments.prompt,
        engine.decode_steps(moments.output),
        moments.kv_reads(engine.decode_steps(0)),
    )
    batches = ExtremeBatches.of(engine, workload, requests=places)
    return 1 / greatest_minorant(batches, np.array(use, dtype=np.float64))


def _hypotheses(
    engine: Engine, workload: Workload, policy: Policy, *, is_monotone: bool
) -> tuple[Hypothesis, ...]:
    rule = policy if isinstance(policy, BatchRule) else None
    longest = workload.longest_prompt
    short = longest is not None and longest <= engine.token_budget
    return (
        Hypothesis(
            "the step time never falls as a batch grows",
            holds=is_monotone,
            how="compared at every size of a batch; where it falls, the upper bound takes the "
            "fastest batch that holds at least as much",
        ),
        Hypothesis(
            "the policy is a first-come-first-served rule (for the lower bound)",
            holds=rule is not None,
            how=rule.name if rule is not None else "a policy given as code",
        ),
        Hypothesis(
            "every prompt can be served (for the lower bound)",
            holds=rule is not None and (rule.chunked or short),
            how=f"longest prompt {longest}, token_budget={engine.token_budget}",
        ),
        Hypothesis(
            "nobody is preempted (for the lower bound)",
            holds=memory_never_binds(engine, workload),
            how=f"kv_capacity={engine.kv_capacity}, {workload.users} users of at most "
            f"{workload.longest_request} tokens",
        ),
    )


def _most_present(engine: Engine, workload: Workload, rule: BatchRule) -> float:
    """Return a bound on the time that users are present per request [s]."""
    moments, users = workload.moments, crowd_of(workload).users
    prompt, steps = float(moments.prompt), float(engine.decode_steps(moments.output))
    reads = float(moments.kv_reads(engine.decode_steps(0)))
    batches = _batches_seen(engine, workload, rule, prompt=prompt, steps=steps)
    counts = np.array([batches, users * prompt, users * steps, users * reads])
    return least_majorant(ExtremeBatches.of(engine, workload, requests=users), counts)


def _batches_seen(
    engine: Engine, workload: Workload, rule: BatchRule, *, prompt: float, steps: float
) -> float:
    """Return the batches that users see per request, :math:`A`."""
    crowd, budget = crowd_of(workload), engine.token_budget
    users = crowd.users
    splits = prompt / budget if rule.chunked else 0.0
    late = float(crowd.think_time > 0)
    limit = engine.max_batch_size
    if rule.mixed and rule.chunked:
        longest = workload.longest_prompt
        fills = longest is None or users * longest >= budget
        full = users * (prompt + steps) / budget if fills else 0.0
        packed = users * (1 + steps) / limit if limit is not None and limit < users else 0.0
        return 1 + steps + late + full + packed
    if not rule.mixed and rule.first == "prefill":
        together = min(budget, limit or budget)
        packed = users * steps / together if together < users else 0.0
        return steps + late + users * (1 + splits) + packed
    return users * (1 + steps + splits)
