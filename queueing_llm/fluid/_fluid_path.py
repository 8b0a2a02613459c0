"""The fluid limit of an engine under a batch rule, event by event."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from numbers import Rational

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.fluid._path import FluidPath, FluidPiece, FluidState, Mode
from queueing_llm.fluid._rules import known_service
from queueing_llm.fluid._service import FluidService, exact_value
from queueing_llm.model import Engine, Workload
from queueing_llm.model._arguments import check_kind
from queueing_llm.policies import Policy

EMPTY = FluidState()
MODES: dict[tuple[bool, bool], Mode] = {
    (False, False): "empty",
    (True, False): "prompts",
    (False, True): "decodes",
    (True, True): "both",
}


def fluid_path(
    engine: Engine, workload: Workload, *, policy: Policy, initial: FluidState = EMPTY
) -> FluidPath:
    r"""Return where a large backlog goes: the fluid limit of an engine.

    Started with :math:`n` times the initial state, and watched at time :math:`n t`, the
    backlog divided by :math:`n` comes near the path as :math:`n` grows:

    .. math:: \dot Q_p = \lambda m_p - x, \qquad \dot A_d = \frac{m_D}{m_p} x - y,
       \qquad V = Q_p \Bigl(1 + \frac{m_D}{m_p}\Bigr) + A_d,

    where the rule serves :math:`x` prefill and :math:`y` decode tokens per second while
    prompts :math:`Q_p`, available decodes :math:`A_d`, or both wait. Work-conserving rules
    have :math:`x + y = r = b / t(b)` while :math:`V > 0`, so :math:`V` drains at
    :math:`r - \lambda w` however it is split; other rules do not, and the split matters.

    Parameters
    ----------
    engine, workload
        The system.
    policy : BatchRule
        How batches are formed.
    initial : FluidState
        The backlog at time 0 [tokens]. Waiting prompts bring the decode steps of the
        workload; the decode tokens belong to as many older requests as are needed, which
        have just been prefilled.

    Returns
    -------
    FluidPath
        Exact for exact data. Evidence is that of the critical rate: for work-conserving rules
        ``THEOREM`` where the hypotheses of Theorem 2 of arXiv:2504.07347v3 hold, which is
        about the total; how it splits follows from the order of the phases (ours).
        ``NUMERICAL`` otherwise.

    Raises
    ------
    InvalidArgument
        If the policy is no BatchRule, the workload ends, decodes are given where none can
        wait in bulk, a float overflows, or the fluid limit is not known: with a KV cache, a
        batch-size limit that makes the saturated engine depend on its history, random prompts
        that are whole or depend on outputs under rules that prefill first and do not mix
        phases, an arrival rate inside the
        interval of the critical rate, or a step time that depends on the mix of a batch.

    Notes
    -----
    At a rate where small batches keep up and full ones do not, which step times that are
    not best at full batches allow, the path from 0 grows at once, and an engine started
    empty may take long to leave, or never do under arrivals that are not random.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.fluid import FluidState, fluid_path
    >>> step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    >>> engine = ql.Engine(step_time=step, token_budget=512)
    >>> load = ql.Workload.poisson(10.4, prompt_tokens=129, output_tokens=112)
    >>> path = fluid_path(engine, load, policy=ql.ORCA, initial=FluidState(129_000))
    >>> round(path.drain_time, 1)
    288.1
    """
    check_kind(initial, "initial", kind=FluidState, such_as="FluidState(prompt_tokens=1000)")
    known = known_service(engine, workload, policy)
    if initial.decode_tokens > 0 and not known.holds_decodes:
        msg = (
            "initial must have no decode tokens where requests have no decode steps or "
            "max_batch_size limits residents, who cannot be many, got "
            f"decode_tokens={initial.decode_tokens!r}."
        )
        raise InvalidArgument(msg)
    start = (initial.prompt_tokens, initial.decode_tokens)
    is_exact = known.is_exact and all(isinstance(tokens, Rational) for tokens in start)
    number = Fraction if is_exact else _as_float
    return FluidPath(
        pieces=tuple(_shown(piece, number) for piece in _pieces(known.service, *start)),
        steps_per_prompt_token=number(known.service.steps_per_prompt_token),
        evidence=known.critical.evidence,
        basis=f"order of the phases, and while prompts wait in bulk: {known.critical.basis}",
        hypotheses=known.critical.hypotheses,
    )


def _pieces(service: FluidService, prompt: Real, decode: Real) -> Iterator[FluidPiece]:
    """Yield the pieces of the path, in exact arithmetic: events need no tolerance."""
    begin, left = Fraction(0), (exact_value(prompt), exact_value(decode))
    while True:
        drift = service.drift(MODES[left[0] > 0, left[1] > 0])
        # What does not wait yet but grows waits inside the piece.
        waits = [tokens > 0 or speed > 0 for tokens, speed in zip(left, drift, strict=True)]
        mode = MODES[waits[0], waits[1]]
        yield FluidPiece(begin, mode, FluidState(*left), *service.rates[mode], *drift)
        ends = [-tokens / speed for tokens, speed in zip(left, drift, strict=True) if speed < 0]
        if not ends:
            return
        elapsed = min(ends)
        begin += elapsed
        left = (left[0] + elapsed * drift[0], left[1] + elapsed * drift[1])


def _as_float(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        msg = (
            "initial and the rates must give a path whose numbers fit a float, got about "
            f"2^{number.numerator.bit_length() - number.denominator.bit_length()}: use "
            "integers and Fractions throughout."
        )
        raise InvalidArgument(msg) from None


def _shown(piece: FluidPiece, number: Callable[[Fraction], Real]) -> FluidPiece:
    """Return a piece with all numbers of one kind."""
    values = {
        name: number(getattr(piece, name))
        for name in ("begin", "prefill_rate", "decode_rate", "prompt_drift", "decode_drift")
    }
    state = piece.state
    shown = FluidState(number(state.prompt_tokens), number(state.decode_tokens))
    return replace(piece, state=shown, **values)
