"""The engine: how long a step takes and what one batch may hold."""

from dataclasses import dataclass
from typing import Annotated, final

from queueing_llm._validate import Domain, Real, validate
from queueing_llm.model._arguments import check_kind
from queueing_llm.policies._contract import check_blocks
from queueing_llm.steptime import AbstractStepTime

MOST_BUDGET = 2**24
MOST = 2**53


@final
@dataclass(frozen=True, slots=True)
class Engine:
    r"""One LLM engine: a batch-service queue whose step lasts ``step_time(batch)``.

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
    kv_block_size : int
        :math:`B` [tokens]. The cache is given out in blocks: a request that stores :math:`s`
        tokens holds :math:`\lceil s / B \rceil` of the :math:`M / B` blocks.

    Raises
    ------
    InvalidArgument
        If a limit is not a positive integer, ``step_time`` is not a step-time law, or
        ``kv_capacity`` is no multiple of a ``kv_block_size`` above 1.

    Notes
    -----
    Simulation and verification count blocks. A batch that fits in blocks fits in single slots,
    so what no policy exceeds with slots of one token none exceeds with blocks. What says
    that an engine with a KV cache is stable, other than by simulation, is about single slots:
    it refuses larger blocks or leaves the question open.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> ql.Engine(step_time=step, token_budget=512).work_tokens(129, 112)
    241
    >>> ql.Engine(step_time=step, token_budget=512, kv_capacity=64, kv_block_size=16).kv_blocks
    4
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
    kv_block_size: Annotated[
        int, Domain("B", "tokens", at_least=1, at_most=MOST_BUDGET, integer=True)
    ] = 1

    def __post_init__(self) -> None:
        check_kind(
            self.step_time, "step_time", kind=AbstractStepTime, such_as="StaircaseStepTime"
        )
        validate(self)
        check_blocks(self.kv_capacity, block_size=self.kv_block_size)

    @property
    def kv_blocks(self) -> int | None:
        """Blocks of the KV cache, :math:`M / B`; None without a limit."""
        return None if self.kv_capacity is None else self.kv_capacity // self.kv_block_size

    def work_tokens(self, prompt_tokens: Real, output_tokens: Real) -> Real:
        """Return the tokens that a request is processed for, :math:`w` [tokens]."""
        return prompt_tokens + self.decode_steps(output_tokens)

    def decode_steps(self, output_tokens: Real) -> Real:
        """Return the decode steps of a request, :math:`d` or :math:`d - 1`."""
        return output_tokens - 1 if self.first_token_from_prefill else output_tokens

    def batch_tokens_limit(self) -> int:
        """Return the most tokens a batch can hold: budget and KV cache both bind it."""
        return min(self.token_budget, self.kv_capacity or self.token_budget)
