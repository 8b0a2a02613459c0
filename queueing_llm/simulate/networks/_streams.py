"""All the randomness of one replication, drawn by NumPy from the laws themselves.

Every stream has a generator of its own, so that neither the size of a chunk nor what other
streams draw changes it; both drivers take from the same streams in the same order.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import AbstractLength, ScheduledArrivals
from queueing_llm.model._joint_lengths import LengthSampler
from queueing_llm.model.agents import AgentNetwork, Visit
from queueing_llm.simulate._arrivals import LONGEST_REQUEST
from queueing_llm.simulate._clock import Clock


class Streams:
    """The random numbers of one replication.

    Parameters
    ----------
    network : AgentNetwork
        Laws of arrivals, lengths and turns.
    rng : numpy.random.Generator
        Where the randomness comes from.
    clock : Clock
        Turns seconds into ticks.
    start : mapping of int to int
        Sessions that start at each kind of visit at time 0, besides those that arrive.
    phase : float
        Where recorded arrivals and lengths begin, in [0, 1).
    """

    def __init__(
        self,
        network: AgentNetwork,
        rng: np.random.Generator,
        *,
        clock: Clock,
        start: Mapping[int, int],
        phase: float = 0.0,
    ) -> None:
        self.network, self.clock = network, clock
        if any(isinstance(visit.arrivals, ScheduledArrivals) for visit in network.visits):
            phase = 0.0
        self._rngs = rng.spawn(3 * len(network.visits) + 2)
        self._phase = phase
        self._start = dict(start)
        self._samplers: dict[int, LengthSampler] = {
            v: visit.lengths.sampler(self._rngs[3 * v + 1], phase=phase)
            for v, visit in enumerate(network.visits)
            if visit.lengths is not None
        }

    def arrivals(self, size: int) -> list[tuple[int, Iterator[np.ndarray]]]:
        """Return the sources of sessions: a kind of visit, and an iterator of ticks in order.

        Ticks come ``size`` at a time. Sessions that arrive at the same tick come in the order
        of this list: first those present at the start, then by visit.
        """
        present = [
            (v, iter([np.zeros(count, dtype=np.int64)]))
            for v, count in sorted(self._start.items())
            if count
        ]
        coming = [
            (v, self._ticks(visit.arrivals.chunks(self._rngs[3 * v], size, phase=self._phase)))
            for v, visit in enumerate(self.network.visits)
            if visit.arrivals is not None
        ]
        return present + coming

    def _ticks(self, chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        return (self.clock.arrival_ticks(times) for times in chunks if len(times))

    def lengths(self, visit: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the prompt and output tokens of the next requests of a kind of visit."""
        prompt, output = self._samplers[visit](size)
        _check_lengths(self.network, self.network.visits[visit], prompt, output)
        return prompt, output

    def turns(self, visit: int, size: int) -> np.ndarray:
        """Return how many visits in a row the next sessions make."""
        law = self.network.visits[visit].turns
        assert isinstance(law, AbstractLength)
        turns = law.sample(self._rngs[3 * visit + 2], size)
        if turns.min() < 1:
            name = self.network.visits[visit].name
            msg = f"turns of visit {name!r} must be at least 1, got {int(turns.min())}."
            raise InvalidArgument(msg)
        return turns

    def uniforms(self, size: int) -> np.ndarray:
        """Return the next uniform numbers: for moves, dispatch, and rounding."""
        return self._rngs[-2].random(size)

    def delays(self, size: int) -> np.ndarray:
        """Return the next random delays, in units of their mean."""
        return self._rngs[-1].standard_exponential(size)


def _check_lengths(
    network: AgentNetwork, visit: Visit, prompt: np.ndarray, output: np.ndarray
) -> None:
    emits = any(network.engines[e].engine.first_token_from_prefill for e in visit.engines)
    if emits and output.min() < 1:
        msg = (
            "output_tokens must be at least 1 when the prefill yields the first token, "
            f"got {int(output.min())} at visit {visit.name!r}."
        )
        raise InvalidArgument(msg)
    longest = int(prompt.max()) + int(output.max())
    if longest > LONGEST_REQUEST:
        longest = int((prompt + output).max())
    if longest > LONGEST_REQUEST:
        msg = (
            f"a request of visit {visit.name!r} has {longest} tokens, more than "
            f"{LONGEST_REQUEST}: shorten its lengths."
        )
        raise InvalidArgument(msg)
