"""The fluid equilibrium of an engine whose batches hold all residents (arXiv:2504.11320)."""

from dataclasses import dataclass
from typing import final

from queueing_llm._ops import Number, ratio
from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, RequestClass, Workload
from queueing_llm.model._arguments import check_kind
from queueing_llm.stability.bounds._lifetime import kv_lifetime
from queueing_llm.steptime import AffineStepTime


@final
@dataclass(frozen=True, slots=True)
class FluidEquilibrium:
    r"""The point at which requests enter batches as fast as they arrive.

    Parameters
    ----------
    memory_tokens : number
        :math:`M^\star`, held by all residents [tokens].
    iteration_seconds : number
        :math:`\Delta T^\star`, the time of a batch [s].
    stage_requests : tuple of number
        :math:`n_j^\star = \lambda_j \Delta T^\star` of each class: entering with each batch
        and, where its requests are alike, in each of their stages [requests].
    token_throughput : number
        :math:`Thr^\star = \sum_j \lambda_j l'_j` [decode tokens/s].
    load : number
        :math:`\sum_j \lambda_j v_j < 1`, the share of time that tokens need [1].
    memory_load : number or None
        :math:`M^\star / C`; None without a KV capacity [1].
    is_sustainable : bool
        Whether :math:`M^\star \le C`. If not, every policy is unstable that preempts nobody;
        where a prefill yields no token or ``per_kv_token`` is at most ``per_token``, every one.

    Examples
    --------
    >>> FluidEquilibrium(8, 1, (2, 2), 4, 0.5, 0.8, is_sustainable=True).memory_load
    0.8
    """

    memory_tokens: Real
    iteration_seconds: Real
    stage_requests: tuple[Real, ...]
    token_throughput: Real
    load: Real
    memory_load: Real | None
    is_sustainable: bool


def wait_equilibrium(engine: Engine, workload: Workload) -> FluidEquilibrium | None:
    r"""Return the fluid equilibrium, with which the thresholds of WAIT are chosen.

    A batch takes :math:`d_0` and serves every resident; type :math:`j` arrives at rate
    :math:`\lambda_j`, holds :math:`A_j` slots summed over its batches and costs :math:`v_j`
    beyond :math:`d_0`:

    .. math:: \Delta T^\star = \frac{d_0}{1 - \sum_j \lambda_j v_j}, \qquad
       M^\star = \Delta T^\star \sum_j \lambda_j A_j, \qquad
       A_j = (l'_j + 1) \Bigl(l_j + \frac{l'_j}{2}\Bigr).

    In arXiv:2504.11320 a batch takes :math:`d_0 + d_1 \cdot` (cached tokens), so
    :math:`v_j = d_1 A_j`. That is the affine law with ``per_token`` and ``per_kv_token`` both
    :math:`d_1`: a decode step at progress :math:`s` reads :math:`l + s - 1` tokens and adds
    one.

    Parameters
    ----------
    engine, workload
        The system; the step time is an affine law with a positive base, and ``kv_capacity``
        is :math:`C`. Other limits of the engine are not looked at. Where lengths vary within
        a class, their means count.

    Returns
    -------
    FluidEquilibrium or None
        Exact for exact data; None if :math:`\sum_j \lambda_j v_j \ge 1`: batches then grow
        without bound whatever the memory, and above 1 every policy is unstable of which
        ``is_sustainable`` says so.

    Raises
    ------
    InvalidArgument
        If the step time is of another form or ``kv_block_size`` is above 1.

    Notes
    -----
    :math:`M^\star \le C` iff :math:`\lambda (d_0 A / C + v) \le 1`, the upper bound on every
    policy of :func:`resource_prices`; ``proofs/wait_equilibrium_is_a_memory_bound.py``. Where
    a prefill yields a token and reading one costs more than computing one, policies that
    preempt can exceed it: they recompute what others read. That WAIT attains it is asymptotic
    (arXiv:2504.11320), and greedy admission need not.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> law = ql.AffineStepTime(base=0.02, per_token=4e-7, per_kv_token=4e-7)
    >>> engine = ql.Engine(step_time=law, token_budget=4096, kv_capacity=137_000)
    >>> load = ql.Workload.poisson(40, prompt_tokens=512, output_tokens=20)
    >>> round(wait_equilibrium(engine, load).memory_tokens)
    10635
    """
    law = affine_law(engine)
    rates, held, seconds = class_costs(engine, workload, law)
    load = weighted(rates, seconds)
    if load >= 1:
        return None
    iteration = equilibrium_seconds(law.base, load)
    memory = equilibrium_memory(law.base, load, weighted(rates, held))
    capacity = engine.kv_capacity
    outputs = [engine.decode_steps(c.lengths.moments.output) for c in workload.classes]
    return FluidEquilibrium(
        memory_tokens=memory,
        iteration_seconds=iteration,
        stage_requests=tuple(rate * iteration for rate in rates),
        token_throughput=weighted(rates, outputs),
        load=load,
        memory_load=None if capacity is None else ratio(memory, capacity),
        is_sustainable=capacity is None or bool(memory <= capacity),
    )


def equilibrium_seconds(base: Number, load: Number) -> Number:
    r"""Return :math:`\Delta T^\star = d_0 / (1 - \sum \lambda v)` [s]."""
    return ratio(base, 1 - load)


def equilibrium_memory(base: Number, load: Number, held_rate: Number) -> Number:
    r"""Return :math:`M^\star = d_0 \sum \lambda A / (1 - \sum \lambda v)` [tokens].

    Parameters
    ----------
    base : number
        :math:`d_0` [s].
    load : number
        :math:`\sum \lambda v` [1]; in arXiv:2504.11320 this is :math:`d_1 \sum \lambda A`.
    held_rate : number
        :math:`\sum \lambda A` [token batches/s].
    """
    return equilibrium_seconds(base, load) * held_rate


def stage_lifetime(prompt: Number, steps: Number) -> Number:
    r"""Return :math:`A = (l' + 1)(l + l' / 2)`, cached tokens in stages 0 to :math:`l'`."""
    return ratio((steps + 1) * (2 * prompt + steps), 2)


def affine_law(engine: Engine) -> AffineStepTime:
    """Return the law of an engine with a positive base and a KV cache of single tokens."""
    check_kind(engine, "engine", kind=Engine, such_as="Engine(step_time=..., token_budget=512)")
    law = engine.step_time
    if not isinstance(law, AffineStepTime) or not law.base > 0:
        msg = (
            "step_time must be an AffineStepTime with base above 0 [s] for a fluid "
            f"equilibrium, got step_time={law!r}."
        )
        raise InvalidArgument(msg)
    if engine.kv_block_size > 1:
        msg = (
            "kv_block_size must be 1 where thresholds share out the KV cache token by token, "
            f"got kv_block_size={engine.kv_block_size}: simulate such an engine instead."
        )
        raise InvalidArgument(msg)
    return law


def class_costs(
    engine: Engine, workload: Workload, law: AffineStepTime
) -> tuple[list[Real], list[Real], list[Real]]:
    r"""Return :math:`\lambda_j` [requests/s], :math:`A_j` [token batches], :math:`v_j` [s]."""
    rates = [workload.arrival_rate * share for share in workload.shares]
    held, seconds = [], []
    for requests in workload.classes:
        alone = Workload(workload.arrivals, [requests])
        moments = requests.lengths.moments
        held.append(kv_lifetime(engine, alone))
        tokens = engine.work_tokens(moments.prompt, moments.output)
        reads = moments.kv_reads(engine.decode_steps(0))
        seconds.append(law.per_token * tokens + law.per_kv_token * reads)
    return rates, held, seconds


def check_alike(requests: RequestClass) -> None:
    """Raise :class:`InvalidArgument` unless all requests of the class have equal lengths."""
    moments = requests.lengths.moments
    squares = moments.prompt_squared, moments.output_squared
    if squares != (moments.prompt**2, moments.output**2):
        msg = f"class {requests.name!r} must have constant lengths, got {requests.lengths!r}."
        raise InvalidArgument(msg)


def weighted(weights: list[Real], values: list[Real]) -> Real:
    """Return the sum of the products."""
    return sum(w * v for w, v in zip(weights, values, strict=True))
