"""Fastest batches that lie neither on a grid point nor on the line of full batches."""

import numpy as np

from queueing_llm.steptime import TableStepTime

SLOW = 10**6


def fastest(table, **limits):
    batches = table.candidate_batches(6, **limits)
    rates = (batches[0] + batches[1]) / table(*batches)
    return tuple(int(counts[rates.argmax()]) for counts in batches)


def test_a_single_decode_token_that_reads_kv():
    # The fast grid point (2, 0, 3) is no batch: without decode tokens no KV cache is read.
    seconds = np.full((3, 2, 2), SLOW)
    seconds[1, 0, 1] = 1
    assert fastest(TableStepTime.of_batches([0, 2, 6], [0, 6], [0, 3], seconds)) == (2, 1, 3)


def test_the_most_decode_tokens_that_are_allowed():
    seconds = [[[SLOW], [SLOW]], [[1000], [1]], [[SLOW], [SLOW]]]
    table = TableStepTime.of_batches([0, 2, 6], [0, 6], None, seconds)
    assert fastest(table, most_decode_tokens=2) == (2, 2, 0)


def test_a_full_batch_between_grid_points():
    # Along x + y = 6 the time is 9 at both ends and 5 in the middle.
    table = TableStepTime.of_batches([0, 6], [0, 6], None, [[[1], [9]], [[9], [1]]])
    assert fastest(table) == (3, 3, 0)
