"""The engine: how long a step takes and what one batch may hold."""

from dataclasses import dataclass
from typing import Annotated, final

from queueing_llm._validate import Domain, Real, validate
from queueing_llm.model._arguments import check_kind
from queueing_llm.steptime import AbstractStepTime

MOST_BUDGET = 2**24
MOST = 2**53


@final
@dataclass(frozen=True, slots=True)
class Engine:
    """One LLM engine: a batch-service queue whose step lasts ``step_time(batch)``.

    Parameters
    ----------
    step_time : AbstractStepTime
        Seconds that a batch takes, :math:`t`.
    token_budget : int
        :math:`b` [tokens/step], most tokens in one batch.
    max_batch_size : int or None
        :math:`k_{max}` [requests]; the policy says whether batch members or residents count.
    kv_capacity : int or None
        :math:`M` [tokens] of KV cache; a request holds one slot per processed token.
    first_token_from_prefill : bool
        Whether the last prefill chunk yields the first output token. False is the paper's
        accounting (a request is :math:`p + d` tokens of work); True is that of real engines
        (:math:`p + d - 1`).

    Raises
    ------
    InvalidArgument
        If a limit is not a positive integer or ``step_time`` is not a step-time law.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> ql.Engine(step_time=step, token_budget=512).work_tokens(129, 112)
    241
    """

    step_time: AbstractStepTime
    token_budget: Annotated[
        int, Domain("b", "tokens/step", at_least=1, at_most=MOST_BUDGET, integer=True)
    ]
    max_batch_size: Annotated[
        int | None,
        Domain("k_max", "requests", at_least=1, at_most=MOST, integer=True, optional=True),
    ] = None
    kv_capacity: Annotated[
        int | None,
        Domain("M", "tokens", at_least=1, at_most=MOST, integer=True, optional=True),
    ] = None
    first_token_from_prefill: bool = False

    def __post_init__(self) -> None:
        check_kind(
            self.step_time, "step_time", kind=AbstractStepTime, such_as="StaircaseStepTime"
        )
        validate(self)

    def work_tokens(self, prompt_tokens: Real, output_tokens: Real) -> Real:
        """Return the tokens that a request is processed for, :math:`w` [tokens]."""
        return prompt_tokens + self.decode_steps(output_tokens)

    def decode_steps(self, output_tokens: Real) -> Real:
        """Return the decode steps of a request, :math:`d` or :math:`d - 1`."""
        return output_tokens - 1 if self.first_token_from_prefill else output_tokens

    def batch_tokens_limit(self) -> int:
        """Return the most tokens a batch can hold: budget and KV cache both bind it."""
        return min(self.token_budget, self.kv_capacity or self.token_budget)
