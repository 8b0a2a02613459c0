r"""What a rule does next, given how many requests wait for their prompts and how many decode.

A *turn* is one step, or the steps in which one long prompt is prefilled. In the shape
descriptions, ``S`` counts the states, ``J`` how many decode, ``P`` parts of the prompt law.
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np

from queueing_llm.closed._demand import Demand
from queueing_llm.closed._seconds import MeanSeconds
from queueing_llm.model import Engine
from queueing_llm.policies import BatchRule

UNLIMITED = 1e18
TINY = 1e-300


class Turns(NamedTuple):
    """Turns of all states, float64 arrays that broadcast to shape (S, J, P).

    Parameters
    ----------
    steps : float64 array
        Steps in the turn; a fraction where prompts share a step.
    prompts : float64 array
        Prompts that it completes.
    prefill : float64 array
        Prefill tokens in each of its steps [tokens].
    members : float64 array
        Requests that it serves decode steps.
    decode : float64 array
        Decodes served in each of its steps, in the mean.
    seconds : float64 array
        How long it lasts [s]; 0 if there is nothing to do.
    """

    steps: np.ndarray
    prompts: np.ndarray
    prefill: np.ndarray
    members: np.ndarray
    decode: np.ndarray
    seconds: np.ndarray


@final
@dataclass(frozen=True, slots=True, eq=False)
class TurnLaw:
    """The turns of one engine under a rule that mixes phases or prefills first.

    Parameters
    ----------
    engine, rule, demand, seconds_of
        The system.
    """

    engine: Engine
    rule: BatchRule
    demand: Demand
    seconds_of: MeanSeconds

    def __call__(self, waiting: np.ndarray, decoding: np.ndarray) -> Turns:
        """Return the turns that begin with so many prompts waiting and requests decoding.

        Parameters
        ----------
        waiting, decoding : float64 arrays, shapes (S, 1) and (S, J)
            Requests before the end of their prompt, and in decode.
        """
        waiting, decoding = waiting[..., None], decoding[..., None]
        room, places = self._room(decoding)
        steps, prompts, prefill = self._prefill(np.minimum(waiting, places), room)
        members = self._members(decoding, prefill, steps, prompts=np.ceil(prompts - 1e-9))
        decode = members * self._share_of_steps(steps)
        busy = prefill + decode > 0
        seconds = np.where(busy, self._time(steps, prompts, prefill, decode, room=room), 0.0)
        parts = (steps, prompts, prefill, members, decode, seconds)
        return Turns(*np.broadcast_arrays(*parts))

    @property
    def length(self) -> float:
        """Mean steps of a request that decodes at all."""
        demand = self.demand
        return max(1.0, demand.steps / demand.decodes) if demand.decodes else 1.0

    @property
    def decode_places(self) -> float:
        """The most decodes in a batch."""
        limit = self.engine.max_batch_size or UNLIMITED
        return float(min(self.engine.batch_tokens_limit(), limit))

    def _room(self, decoding: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens and the places that prompts find in the next batch."""
        limit = self.engine.max_batch_size or UNLIMITED
        budget = float(self.engine.batch_tokens_limit())
        decodes_first = self.rule.mixed and self.rule.first == "decode"
        served = np.minimum(decoding, self.decode_places) if decodes_first else 0 * decoding
        taken = served if self.rule.limit_counts == "members" else decoding
        return np.maximum(budget - served, 0.0), np.maximum(limit - taken, 0.0)

    def _prefill(
        self, able: np.ndarray, room: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return steps, prompts completed, and prefill tokens in each step."""
        mean, parts = self.demand.prompt, self.demand.prompts
        total = np.maximum(able * mean + np.sqrt(able) * (parts - mean), np.minimum(able, 1))
        fits = total <= room * (1 + 1e-12)
        together = np.minimum(self._together(room), able)
        can = (able > 0) & (room > 0)
        if not self.rule.chunked:
            # Where not all fit, at least one is left out.
            together = np.minimum(together, np.maximum(able - 1, 1.0))
            lone = np.where(parts <= room, 1.0, 0.0)
            prompts = np.where(fits, able, np.where(together >= 1, together, lone))
            prefill = np.where(fits, total, np.where(together >= 1, together * mean, parts))
            prompts = np.where(can, prompts, 0.0)
            return np.ones_like(total), prompts, np.where(prompts > 0, prefill, 0.0)
        cut = parts / np.maximum(room, 1)
        cut = np.where(able > 1, cut, np.ceil(cut))
        is_long = ~fits & ((room < mean) | (able == 1))
        steps = np.where(is_long & can, cut, 1.0)
        prompts = np.where(fits, able, np.where(is_long, 1.0, together))
        prefill = np.where(fits, total, np.where(is_long, parts / cut, room))
        return steps, np.where(can, prompts, 0.0), np.where(can, prefill, 0.0)

    def _together(self, room: np.ndarray) -> np.ndarray:
        """Return how many prompts a batch completes in the mean while more of them wait."""
        mean, parts = self.demand.prompt, self.demand.prompts
        fit = room / mean
        if self.rule.chunked:
            # As many more as the prompts are short; in the mean it is what fits.
            several = np.maximum(fit - np.sqrt(fit) * (parts - mean) / mean, 0.0)
            total = np.maximum(several.mean(axis=-1, keepdims=True), TINY)
            return several * fit / total
        if self.demand.prompt_scv == 0:
            return np.floor(fit + 1e-12)
        return np.where(fit >= 1, np.maximum(fit + (self.demand.prompt_scv - 1) / 2, 1.0), 0.0)

    def _members(
        self,
        decoding: np.ndarray,
        prefill: np.ndarray,
        steps: np.ndarray,
        *,
        prompts: np.ndarray,
    ) -> np.ndarray:
        """Return how many requests are served decode steps."""
        most = np.minimum(decoding, self.decode_places)
        if not self.rule.mixed:
            return np.where(prefill > 0, 0.0, most)
        if self.rule.first == "decode":
            return most
        budget = self.engine.batch_tokens_limit()
        limit = self.engine.max_batch_size or UNLIMITED
        # A prompt in several steps leaves room in the last of them only.
        spare = np.maximum(np.where(steps > 1, steps, 1.0) * (budget - prefill), 0.0)
        return np.minimum(most, np.minimum(spare, np.maximum(limit - prompts, 0.0)))

    def _share_of_steps(self, steps: np.ndarray) -> np.ndarray:
        """Return in which share of the steps of a turn those are served, in the mean."""
        several = np.maximum(steps, 1.0)
        if self.rule.first == "prefill":
            return 1 / several
        # Who finishes in an early step leaves the later ones.
        left = 1 - 1 / self.length
        return (1 - left**several) / (several * (1 - left))

    def _time(
        self,
        steps: np.ndarray,
        prompts: np.ndarray,
        prefill: np.ndarray,
        decode: np.ndarray,
        *,
        room: np.ndarray,
    ) -> np.ndarray:
        kv = self.demand.stored * decode
        alike = steps * self.seconds_of(prefill, decode, kv)
        # A prompt alone in several steps fills all of them but the last.
        total = prefill * steps
        full = np.floor(total / np.maximum(room, 1) + 1e-9)
        rest = total - full * room
        last = np.where(rest > 1e-6, self.seconds_of(rest, decode, kv), 0.0)
        alone = full * self.seconds_of(room, decode, kv) + last
        is_cut = (steps > 1) & (np.abs(steps - np.rint(steps)) < 1e-9) & (prompts == 1)
        return np.where(is_cut & (room > 0), alone, alike)
