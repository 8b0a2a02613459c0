"""The criterion by which a hybrid engine chooses between exclusive and mixed batches."""

from dataclasses import dataclass
from typing import final

from queueing_llm.policies import EngineState
from queueing_llm.stability.batching._batching_costs import BatchingCosts, best_refill_share
from queueing_llm.stability.batching._exclusive_or_mixed import request_seconds


@final
@dataclass(frozen=True, slots=True)
class ObservedCrossover:
    r"""Whether mixed batches are better for what a policy sees: the criterion of EB+.

    The comparison of ``compare_batching``, with :math:`N` the residents, :math:`k =
    \max(1, \theta_0 N)`, and :math:`\mu_L`, :math:`\mu_O` the means of the requests whose
    prompts are not done. A function of the state, so without hysteresis.

    Parameters
    ----------
    costs : BatchingCosts
        The cost model.

    Notes
    -----
    The state knows the output lengths of the requests that wait; an engine would estimate
    them. With fewer than two residents, or no prompt, nothing is interrupted and the answer is
    mixed.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.policies import ExclusiveBatching, HybridBatching
    >>> from queueing_llm.stability import BatchingCosts, ObservedCrossover
    >>> law = ql.AffineStepTime(0.01, 1e-5)
    >>> choice = ObservedCrossover(BatchingCosts.of_step_time(law))
    >>> policy = HybridBatching(ExclusiveBatching(4, refill=1), ql.SARATHI, choice)
    >>> engine = ql.Engine(step_time=law, token_budget=9)
    >>> load = ql.Workload.of_requests([0] * 3, prompt_tokens=[4] * 3, output_tokens=[1] * 3)
    >>> steps = ql.watch(engine, load, policy=policy, horizon=99)
    >>> [int(step.batch.tokens.sum()) for step in steps]
    [9, 5, 1]
    """

    costs: BatchingCosts

    def __call__(self, state: EngineState) -> bool:
        """Return whether the next batch should be mixed."""
        residents, prompts = int((state.stored > 0).sum()), state.prefilling
        if residents < 2 or len(prompts) == 0:
            return True
        output = max(1.0, float(state.decode_left[prompts].mean()))
        exclusive, mixed = request_seconds(
            self.costs,
            prompt_tokens=float((state.prompt_left + state.stored)[prompts].mean()),
            output_tokens=output,
            slots=residents,
            refill=max(1.0, best_refill_share(self.costs, output) * residents),
        )
        return bool(mixed < exclusive)
