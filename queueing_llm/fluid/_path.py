"""A piecewise linear path of prompt tokens and decode tokens, and what can be read off it."""

import bisect
from dataclasses import astuple, dataclass
from numbers import Rational
from typing import Annotated, Literal, TypeAlias, final

from queueing_llm._ops import maximum
from queueing_llm._validate import Domain, Real, SecondsOrZero, check, unboxed, validate
from queueing_llm.evidence import Evidence, Hypothesis

Mode: TypeAlias = Literal["empty", "prompts", "decodes", "both"]
"""Which tokens wait in bulk."""


@final
@dataclass(frozen=True, slots=True)
class FluidState:
    r"""A backlog on the scale of the fluid limit.

    Parameters
    ----------
    prompt_tokens : number
        :math:`Q_p`, prompt tokens of requests that wait for their prefill [tokens].
    decode_tokens : number
        :math:`A_d`, decode steps of requests whose prompt is done [tokens].

    Raises
    ------
    InvalidArgument
        If a number is negative or not finite.

    Examples
    --------
    >>> from queueing_llm.fluid import FluidState
    >>> FluidState(prompt_tokens=129).decode_tokens
    0
    """

    prompt_tokens: Annotated[Real, Domain("Q_p", "tokens", at_least=0)] = 0
    decode_tokens: Annotated[Real, Domain("A_d", "tokens", at_least=0)] = 0

    def __post_init__(self) -> None:
        validate(self)


@final
@dataclass(frozen=True, slots=True)
class FluidPiece:
    """A stretch of a fluid path on which everything moves at constant speed.

    Parameters
    ----------
    begin : number
        When it begins [s]; it ends when the next one begins, and the last never does.
    mode : {"empty", "prompts", "decodes", "both"}
        What waits in bulk inside it.
    state : FluidState
        The backlog at its beginning.
    prefill_rate, decode_rate : number
        What the engine serves [tokens/s].
    prompt_drift, decode_drift : number
        How prompt and available decode tokens change [tokens/s].
    """

    begin: Real
    mode: Mode
    state: FluidState
    prefill_rate: Real
    decode_rate: Real
    prompt_drift: Real
    decode_drift: Real


@final
@dataclass(frozen=True, slots=True)
class FluidPath:
    r"""The fluid limit of an engine from one initial state.

    Parameters
    ----------
    pieces : tuple of FluidPiece
        In order of time; the last one is endless.
    steps_per_prompt_token : number
        :math:`m_D / m_p`, the decode steps that a waiting prompt token brings [1].
    evidence : Evidence
        How the total backlog is known; how it splits into phases is ours, no theorem.
    basis : str
        The argument in a sentence.
    hypotheses : tuple of Hypothesis
        What was checked for it.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.fluid import FluidState, fluid_path
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
    >>> load = ql.Workload.poisson(1, prompt_tokens=2, output_tokens=3)
    >>> path = fluid_path(engine, load.scale_to(0.1), policy=ql.ORCA, initial=FluidState(20))
    >>> [piece.mode for piece in path.pieces], round(path.drain_time, 3)
    (['both', 'decodes', 'empty'], 166.667)
    """

    pieces: tuple[FluidPiece, ...]
    steps_per_prompt_token: Real
    evidence: Evidence
    basis: str
    hypotheses: tuple[Hypothesis, ...] = ()

    @property
    def times(self) -> tuple[Real, ...]:
        """When the pieces begin [s]."""
        return tuple(piece.begin for piece in self.pieces)

    @property
    def growth(self) -> Real:
        r"""Slope of the total backlog in the end, :math:`\dot V` [tokens/s]; 0 if it drains."""
        last = self.pieces[-1]
        return self._total(last.prompt_drift, last.decode_drift)

    @property
    def drain_time(self) -> Real | None:
        """When nothing is left for good [s]; None if that never happens."""
        last = self.pieces[-1]
        return last.begin if last.mode == "empty" else None

    @property
    def is_exact(self) -> bool:
        """Whether all numbers are integers or fractions, computed without rounding."""
        numbers = [self.steps_per_prompt_token]
        for piece in self.pieces:
            numbers += [piece.begin, piece.prompt_drift, piece.decode_drift]
            numbers += astuple(piece.state)
        return all(isinstance(number, Rational) for number in numbers)

    def at(self, time: Real) -> FluidState:
        """Return the backlog at a time [s], at least 0.

        Examples
        --------
        >>> import queueing_llm as ql
        >>> from queueing_llm.fluid import FluidState, fluid_path
        >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=4)
        >>> load = ql.Workload.poisson(1, prompt_tokens=2, output_tokens=3)
        >>> fluid_path(engine, load, policy=ql.ORCA, initial=FluidState(20)).at(5).prompt_tokens
        Fraction(26, 1)
        """
        check(time, "time", SecondsOrZero)
        time = unboxed(time)
        piece = self.pieces[bisect.bisect_right(self.times, time) - 1]
        elapsed = time - piece.begin
        prompt = piece.state.prompt_tokens + elapsed * piece.prompt_drift
        decode = piece.state.decode_tokens + elapsed * piece.decode_drift
        # Rounding can pass below 0 just before a piece ends there.
        return FluidState(maximum(prompt, 0), maximum(decode, 0))

    def backlog_tokens(self, time: Real) -> Real:
        r"""Return all work left, :math:`V = Q_p (1 + m_D / m_p) + A_d`, at a time [tokens]."""
        state = self.at(time)
        return self._total(state.prompt_tokens, state.decode_tokens)

    def _total(self, prompt: Real, decode: Real) -> Real:
        return prompt * (1 + self.steps_per_prompt_token) + decode
