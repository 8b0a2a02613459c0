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

    def arrivals(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield sessions in order of arrival: ticks and kinds of visit, int64 arrays (n,).

        Sessions that arrive at the same time come in the order of the visits.
        """
        first = sorted(self._start.items())
        at = np.repeat([v for v, _ in first], [n for _, n in first]).astype(np.int64)
        yield np.zeros(len(at), dtype=np.int64), at
        sources = {
            v: visit.arrivals.chunks(self._rngs[3 * v], size, phase=self._phase)
            for v, visit in enumerate(self.network.visits)
            if visit.arrivals is not None
        }
        for times, visits in _merged(sources, size):
            yield self.clock.arrival_ticks(times), visits

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


def _merged(
    sources: dict[int, Iterator[np.ndarray]], size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Merge streams that come in chunks of ``size``; equal times in the order of the keys."""
    known = {v: np.zeros(0) for v in sources}
    live = set(sources)
    while live or any(len(times) for times in known.values()):
        # All that will come before the end of the shortest stream is known.
        cutoff = min((known[v][-1] if len(known[v]) else -np.inf for v in live), default=np.inf)
        counts = {v: int(np.searchsorted(times, cutoff)) for v, times in known.items()}
        if not live:
            counts = {v: len(times) for v, times in known.items()}
        if any(counts.values()):
            times = np.concatenate([known[v][:n] for v, n in counts.items()])
            visits = np.repeat(list(counts), list(counts.values()))
            known = {v: known[v][n:] for v, n in counts.items()}
            order = np.argsort(times, kind="stable")
            yield times[order], visits[order].astype(np.int64)
        for v in sorted(live):
            if len(known[v]) < size or known[v][-1] <= cutoff:
                more = next(sources[v], None)
                if more is None:
                    live.discard(v)
                else:
                    known[v] = np.concatenate([known[v], more])


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
    longest = int((prompt + output).max())
    if longest > LONGEST_REQUEST:
        msg = (
            f"a request of visit {visit.name!r} has {longest} tokens, more than "
            f"{LONGEST_REQUEST}: shorten its lengths."
        )
        raise InvalidArgument(msg)
