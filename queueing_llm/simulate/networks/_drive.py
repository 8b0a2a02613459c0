"""Run the compiled network, feeding it as it asks."""

from collections.abc import Callable

import numpy as np

from queueing_llm.errors import ConservationViolated, InvalidArgument
from queueing_llm.simulate.networks import _kernel as kernel
from queueing_llm.simulate.networks._layout import Layout
from queueing_llm.simulate.networks._memory import Memory
from queueing_llm.simulate.networks._outcome import NetworkOutcome
from queueing_llm.simulate.networks._streams import Streams


def run_kernel(
    layout: Layout,
    streams: Streams,
    *,
    sample_at: np.ndarray,
    chunk: int,
    log_batches: bool = False,
    keep_sessions: bool = False,
    progress: Callable[[float], None] | None = None,
) -> NetworkOutcome:
    """Run one replication of a network whose policies are all rules.

    Parameters
    ----------
    layout, streams
        What to run, and its randomness.
    sample_at : int64 array, shape (S,)
        Sample times in increasing order [ticks]; the last one is the horizon.
    chunk : int
        How many random numbers to draw at a time; the result does not depend on it.
    log_batches, keep_sessions : bool
        Whether to keep every batch, and the times of sessions and forks.
    progress : callable, optional
        Told the fraction of the horizon that has been simulated, now and then.

    Raises
    ------
    InvalidArgument
        If a batch lies outside a table of step times.
    ConservationViolated
        If tokens or sessions are lost or invented.
    """
    memory = Memory(
        layout,
        streams,
        sample_at=sample_at,
        chunk=chunk,
        log_batches=log_batches,
        keep_sessions=keep_sessions,
    )
    horizon, code = int(sample_at[-1]), kernel.NEEDS_SPACE
    while code not in (kernel.DONE, kernel.NOT_CONSERVED, kernel.UNKNOWN_STEP):
        code = advance(memory, layout, horizon)
        memory.supply(code)
        if progress is not None:
            progress(memory.state[kernel.CLOCK] / horizon)
    where = int(memory.state[kernel.WHERE])
    if code == kernel.UNKNOWN_STEP:
        _explain_unknown_step(layout, memory.engine[where], where)
    lost = memory.difference() if code == kernel.DONE else f"tokens at engine {where}"
    if lost:
        msg = f"{lost} were lost or invented by tick {memory.state[kernel.CLOCK]}."
        raise ConservationViolated(msg)
    return memory.outcome()


def advance(memory: Memory, layout: Layout, horizon: int) -> int:
    """Run the kernel until it needs something; return what."""
    code: int = kernel.run(
        memory.state,
        horizon,
        layout.clock.tick,
        layout.most_moves,
        layout.has_forks,
        *memory.arguments(),
    )
    return code


def _explain_unknown_step(layout: Layout, engine: np.ndarray, where: int) -> None:
    columns = (kernel.FLIGHT_X, kernel.FLIGHT_Y, kernel.KV_READ)
    x, y, kv = (int(engine[column]) for column in columns)
    layout.clocks[where].form.seconds_of(x, y, kv)
    name = layout.network.engines[where].name
    msg = (
        f"the step time of {x} prefill, {y} decode and {kv} KV tokens at engine {name!r} is "
        "not positive."
    )
    raise InvalidArgument(msg)
