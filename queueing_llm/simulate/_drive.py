"""Run the compiled kernel, loading arrivals as it asks for them."""

from collections.abc import Callable, Iterator

import numpy as np

from queueing_llm.errors import ConservationViolated, InvalidArgument
from queueing_llm.model import Engine, Requests
from queueing_llm.policies import BatchRule
from queueing_llm.simulate import _kernel as kernel
from queueing_llm.simulate._clock import Clock
from queueing_llm.simulate._loaded import Loaded
from queueing_llm.simulate._outcome import LOG_COLUMNS, SAMPLE_COLUMNS, Outcome


def run_kernel(
    engine: Engine,
    rule: BatchRule,
    *,
    chunks: Iterator[Requests],
    clock: Clock,
    sample_at: np.ndarray,
    log_size: int = 0,
    keep_requests: bool = False,
    expected_requests: int = 0,
    starts: np.ndarray | None = None,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Run one replication of a rule until the last sample time.

    Parameters
    ----------
    engine, rule
        What to run.
    chunks : iterator of Requests
        Requests in order of arrival, in seconds.
    clock : Clock
        The step-time law in ticks.
    sample_at : int64 array, shape (S,)
        Sample times in increasing order [ticks]; the last one is the horizon.
    log_size : int
        How many batches to log.
    keep_requests : bool
        Whether to keep per-request times.
    expected_requests : int
        First guess of the number of requests, so that buffers need not grow.
    starts : int64 array, shape (N,), or None
        When the users of a closed workload send their first requests, in order [ticks]; None
        if the workload is open.
    progress : callable, optional
        Told the fraction of the horizon that has been simulated, between chunks.

    Raises
    ------
    InvalidArgument
        If a request can never fit in the KV cache, or a batch lies outside a table.
    ConservationViolated
        If tokens are lost or invented.
    """
    loaded = Loaded(
        engine,
        rule,
        keep=keep_requests,
        count_kv=log_size > 0,
        expected=expected_requests,
        starts=starts,
    )
    state = np.zeros(kernel.STATE_SIZE, dtype=np.int64)
    state[kernel.DECODE_STEP] = kernel.FIRST_DECODE_STEP
    area = np.zeros(2)
    samples = np.zeros((len(sample_at), len(SAMPLE_COLUMNS)))
    log = np.zeros((log_size, len(LOG_COLUMNS)), dtype=np.int64)
    grids = (clock.form.prefill_grid, clock.form.decode_grid, clock.form.kv_grid)
    horizon, code = int(sample_at[-1]), kernel.NEEDS_ARRIVALS
    while code == kernel.NEEDS_ARRIVALS:
        loaded.take(next(chunks, None), state, clock)
        code = kernel.run(
            state,
            area,
            loaded.rule,
            (*loaded.limits, horizon, loaded.complete),
            *clock.rows,
            clock.ticks_per_kv,
            clock.tick,
            grids,
            clock.form.seconds,
            *loaded.columns(),
            sample_at,
            samples,
            log,
        )
        if progress is not None:
            progress(state[kernel.CLOCK] / horizon)
    if code == kernel.UNKNOWN_STEP:
        batch = (
            state[kernel.FLIGHT_TOKENS],
            state[kernel.FLIGHT_DONE],
            state[kernel.FLIGHT_KV],
        )
        _explain_unknown_step(clock, *(int(count) for count in batch))
    if code == kernel.NOT_CONSERVED or loaded.tokens_left(state) != _owed(state):
        msg = f"tokens were lost or invented at tick {state[kernel.CLOCK]}."
        raise ConservationViolated(msg)
    requests = loaded.log(state, horizon) if keep_requests else None
    return Outcome(samples, log[: state[kernel.LOGGED]], requests)


def _owed(state: np.ndarray) -> int:
    truncated = state[kernel.IN_FLIGHT] == kernel.TRUNCATED_FLIGHT
    in_flight = state[kernel.FLIGHT_TOKENS] if truncated else 0
    return int(state[kernel.BACKLOG] - in_flight)


def _explain_unknown_step(clock: Clock, x: int, y: int, kv: int) -> None:
    clock.form.seconds_of(x, y, kv)
    msg = f"the step time of {x} prefill, {y} decode and {kv} KV tokens is not positive."
    raise InvalidArgument(msg)
