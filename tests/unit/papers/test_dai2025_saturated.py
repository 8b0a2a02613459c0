"""The saturated engine of ``fig_saturated``: its chain against a count of places; controls."""

import numpy as np
import pytest

from paper_repro.dai2025 import fig_saturated
from paper_repro.dai2025._published import STEP_TIME

SECONDS = [float(STEP_TIME(290 * prompts + 100 - prompts)) for prompts in range(100)]


def extra_seconds(batches, seed):
    """Return what a prompt adds to batches, of 100 places that prefill, decode, begin anew."""
    rng = np.random.default_rng(seed)
    decodes_left = rng.geometric(1 / 990, size=100)
    to_prefill = np.zeros(100, dtype=bool)
    extra, completed = 0.0, 0
    for _ in range(batches):
        extra += SECONDS[int(to_prefill.sum())] - SECONDS[0]
        finished = ~to_prefill & (decodes_left == 1)
        decodes_left -= ~to_prefill
        count = int(finished.sum())
        completed += count
        decodes_left[finished] = rng.geometric(1 / 990, size=count)
        to_prefill = finished
    return extra / completed


def test_the_chain_of_prompts_takes_as_long_as_the_places_do():
    """A completion takes 9.91 batches, and what its prompt adds to one of them."""
    found = [extra_seconds(10_000, seed) for seed in range(8)]
    error = np.std(found, ddof=1) / np.sqrt(8)
    by_chain = 1 / fig_saturated._rate_of_chain() - 9.91 * SECONDS[0]
    assert error < 0.002 * by_chain
    assert abs(np.mean(found) - by_chain) < 4 * error


def test_the_chain_forgets_rare_batches():
    assert fig_saturated._binomial(100, 1 / 990, fig_saturated.MOST_AT_ONCE) < 1e-20
    at_once = [fig_saturated._binomial(99, 1 / 990, c) for c in range(100)]
    assert sum(at_once) == pytest.approx(1, abs=1e-12)


def test_rates_that_are_kept_are_told_from_noise():
    rng = np.random.default_rng(1)
    own = rng.normal(1.8, 0.01, size=(24, 1))
    assert fig_saturated._keeps_rates(own + rng.normal(0, 0.001, size=(24, 2)))
    assert not fig_saturated._keeps_rates(1.8 + rng.normal(0, 0.01, size=(24, 2)))
