"""What is set on the scheduler of vLLM v1, and what its versions do differently."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias, final

from queueing_llm._validate import Domain, Real, Tokens, TokensOrZero, validate
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies.field._vllm_jobs import BlockSize, MaxNumSeqs, WatermarkFraction

BlocksWithNull: TypeAlias = Annotated[int, Domain("N", "blocks", at_least=2, integer=True)]
Interval: TypeAlias = Annotated[int, Domain("i", "steps", at_least=1, integer=True)]


@final
@dataclass(frozen=True, slots=True)
class VllmV1Release:
    """What one version of vLLM v1 does differently from the others.

    Parameters
    ----------
    reserves_prompts : bool
        Whether it knows the whole-prompt test and the watermark of admission.
    passes_oversized : bool
        With whole prompts, whether one above the rest of the budget lets others pass.
    reverses_passed : bool
        A defect: whether two or more prompts that were passed change their order.
    spares_lone_request : bool
        Whether the cap on long prompts leaves a request alone that is alone in the system.
    goes_on_after_own_preemption : bool
        Under the priority policy, whether those behind a request that preempted itself are
        still served.
    paces_prefills : bool
        Whether prefills can be held back for so many steps.
    reuses_blank_first : bool
        With a prefix cache, whether free blocks without content are reused before all others.

    Examples
    --------
    >>> [name for name, release in VLLM_V1_RELEASES.items() if release.passes_oversized]
    ['0.11.2']
    """

    reserves_prompts: bool
    passes_oversized: bool
    reverses_passed: bool
    spares_lone_request: bool
    goes_on_after_own_preemption: bool
    paces_prefills: bool
    reuses_blank_first: bool


VLLM_V1_RELEASES: Mapping[str, VllmV1Release] = MappingProxyType(
    {
        "0.11.2": VllmV1Release(
            reserves_prompts=False,
            passes_oversized=True,
            reverses_passed=True,
            spares_lone_request=False,
            goes_on_after_own_preemption=False,
            paces_prefills=False,
            reuses_blank_first=False,
        ),
        "0.32.0": VllmV1Release(
            reserves_prompts=True,
            passes_oversized=False,
            reverses_passed=False,
            spares_lone_request=True,
            goes_on_after_own_preemption=False,
            paces_prefills=False,
            reuses_blank_first=True,
        ),
        "0.33.0": VllmV1Release(
            reserves_prompts=True,
            passes_oversized=False,
            reverses_passed=False,
            spares_lone_request=True,
            goes_on_after_own_preemption=True,
            paces_prefills=True,
            reuses_blank_first=True,
        ),
    }
)
"""The versions whose recorded decisions were replayed without a difference."""


@final
@dataclass(frozen=True, slots=True)
class VllmV1Config:
    """The settings of vLLM v1 that decide its batches, under its own names.

    Parameters
    ----------
    max_num_batched_tokens : int
        Budget :math:`B` of a step [tokens].
    max_num_seqs : int
        Limit :math:`S` on running requests.
    num_blocks : int
        KV blocks, one of which is never used.
    block_size : int
        Tokens in a block.
    version : {"0.11.2", "0.32.0", "0.33.0"}
        A key of :data:`VLLM_V1_RELEASES`.
    enable_chunked_prefill : bool
        Whether a prompt may be split to fit the budget.
    policy : {"fcfs", "priority"}
        Under ``"priority"`` requests wait in the order of (priority, arrival), and the
        last one in it is preempted.
    long_prefill_token_threshold : int
        Cap :math:`T` on the tokens of one request in a step; 0: none.
    scheduler_reserve_full_isl : bool or None
        Whether a request is admitted only if all its tokens fit, not only its first chunk.
        None: as the version does.
    watermark : float
        Fraction of the blocks that admission leaves free while others run.
    prefill_schedule_interval : int
        While decodes run, steps from one prefill to the next, unless the last step that could
        prefill left requests in the queue.
    enable_prefix_caching : bool
        Whether full blocks are found again, by requests with a common prefix and by those
        that return after a preemption. vLLM does so unless told otherwise.
    with_defects : bool
        Whether to repeat what is a defect of the version, to follow it exactly.

    Raises
    ------
    InvalidArgument
        If the version is unknown, or does not know a setting.

    Examples
    --------
    >>> config = VllmV1Config(2048, 64, num_blocks=1001, version="0.11.2")
    >>> config.usable_blocks, config.reserves_prompts
    (1000, False)
    """

    max_num_batched_tokens: Tokens
    max_num_seqs: MaxNumSeqs
    num_blocks: BlocksWithNull
    block_size: BlockSize = 16
    version: str = "0.33.0"
    enable_chunked_prefill: bool = True
    policy: Literal["fcfs", "priority"] = "fcfs"
    long_prefill_token_threshold: TokensOrZero = 0
    scheduler_reserve_full_isl: bool | None = None
    watermark: WatermarkFraction = 0
    prefill_schedule_interval: Interval = 1
    enable_prefix_caching: bool = False
    with_defects: bool = True

    def __post_init__(self) -> None:
        validate(self)
        for field, accepted in (
            ("version", tuple(VLLM_V1_RELEASES)),
            ("policy", ("fcfs", "priority")),
        ):
            value = getattr(self, field)
            if value not in accepted:
                msg = f"{field}={value!r} is unknown: {nearest(str(value), accepted)}."
                raise InvalidArgument(msg)
        release, is_paced = self.release, self.prefill_schedule_interval > 1
        for field, is_set, is_known in (
            ("scheduler_reserve_full_isl", self.reserves_prompts, release.reserves_prompts),
            ("watermark", self.watermark > 0, release.reserves_prompts),
            ("prefill_schedule_interval", is_paced, release.paces_prefills),
        ):
            if is_set and not is_known:
                msg = (
                    f"{field} is not known of version {self.version}, "
                    f"got {field}={getattr(self, field)!r}: leave it out."
                )
                raise InvalidArgument(msg)

    @property
    def release(self) -> VllmV1Release:
        """What the version does differently."""
        return VLLM_V1_RELEASES[self.version]

    @property
    def usable_blocks(self) -> int:
        """The KV blocks that requests can hold."""
        return self.num_blocks - 1

    @property
    def reserves_prompts(self) -> bool:
        """Whether a request is admitted only if all its tokens fit."""
        if self.scheduler_reserve_full_isl is None:
            return self.release.reserves_prompts
        return self.scheduler_reserve_full_isl

    @property
    def goes_on_after_own_preemption(self) -> bool:
        """Whether those behind a request that preempted itself are still served."""
        return self.policy == "priority" and self.release.goes_on_after_own_preemption

    @property
    def reverses_passed(self) -> bool:
        """Whether prompts that were passed change their order; priorities restore it."""
        return self.with_defects and self.policy == "fcfs" and self.release.reverses_passed

    @property
    def watermark_blocks(self) -> int:
        """The blocks that admission leaves free while others run, rounded as vLLM does."""
        watermark: Real = self.watermark
        return int(watermark * self.num_blocks)
