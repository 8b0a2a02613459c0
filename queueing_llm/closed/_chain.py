r"""The chain of the prompts that wait, from turn to turn."""

from typing import NamedTuple

import numpy as np

from queueing_llm.closed._turns import TurnLaw, Turns

DECODE_NODES = 13
NEGLIGIBLE = 1e-13


class Means(NamedTuple):
    """Long-run means of the chain.

    Parameters
    ----------
    throughput : float
        Requests per second.
    decode_rate : float
        Requests that finish their decode per second, at the assumed share of decodes.
    unanswered : float
        Requests before the end of their prompt.
    held_back : float
        Requests that decode and find no place in the batch.
    next_step : float
        Seconds from the end of a prompt to the end of the next step with a decode.
    prefill, decode, kv : float
        Tokens of each kind in a step [tokens].
    step_seconds : float
        Length of a step [s].
    utilisation : float
        Share of time that a step runs [1].
    """

    throughput: float
    decode_rate: float
    unanswered: float
    held_back: float
    next_step: float
    prefill: float
    decode: float
    kv: float
    step_seconds: float
    utilisation: float


def chain_means(law: TurnLaw, *, users: int, think: float, share: float) -> Means:
    """Return the means, where requests whose prompt is done decode with chance ``share``."""
    waiting = np.arange(users + 1)
    decoding, chances = _decoding(users - waiting, share)
    turns = law(waiting[:, None].astype(np.float64), decoding)
    parts = turns.steps.shape[2]
    weight = np.repeat(chances[..., None] / parts, parts, axis=2)
    others = (users - waiting)[:, None, None] - decoding[..., None]
    turns, arriving, chance, waited = _joining(law, turns, others, think=think)
    if think > 0:
        # The product form is one of time, and turns are counted here: an idle one is long.
        lasting = np.where(weight[0] > 0, turns.seconds[0], np.inf)
        weight[0] *= lasting.min() / lasting
        weight[0] /= weight[0].sum()
    # Without decode steps and without thinking a user is back at once.
    stay = law.demand.decodes if think == 0 else 1.0
    moves = _moves(users, turns, weight, arriving, chance, stay=stay)
    frequency = stationary(moves)

    def per_turn(values: np.ndarray) -> float:
        return float(frequency @ (weight * values).sum(axis=(1, 2)))

    runs = turns.prefill + turns.decode > 0
    seconds, prompts = per_turn(turns.seconds), per_turn(turns.prompts)
    busy, steps = per_turn(turns.seconds * runs), per_turn(turns.steps * runs)
    decode = per_turn(turns.decode * turns.steps)
    unanswered = per_turn(waiting[:, None, None] * turns.seconds + waited)
    pool = per_turn(np.maximum(decoding[..., None] - law.decode_places, 0.0) * turns.seconds)
    completed = (weight * turns.prompts).sum(axis=(1, 2)) * frequency
    until = _until_decode(law, turns, weight, moves, waiting=waiting, decoding=decoding)
    return Means(
        throughput=prompts / seconds,
        decode_rate=decode / law.length / seconds,
        unanswered=unanswered / seconds,
        held_back=pool / seconds,
        next_step=float(completed @ (moves @ until)) / prompts,
        prefill=per_turn(turns.prefill * turns.steps) / steps,
        decode=decode / steps,
        kv=decode / steps * law.demand.stored,
        step_seconds=busy / steps,
        utilisation=busy / seconds,
    )


def _decoding(others: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return values of a binomial number and their chances, shapes (S, J)."""
    if share >= 1:
        return others[:, None].astype(np.float64), np.ones((len(others), 1))
    chances = binomial(others, np.full(len(others), share))
    counts = np.broadcast_to(np.arange(chances.shape[1]), chances.shape)
    if chances.shape[1] <= DECODE_NODES:
        return counts.astype(np.float64), chances
    # None is a value of its own, since the engine is then idle or prefills alone.
    below = np.clip(np.cumsum(chances, axis=1) - chances[:, :1], 0, None)
    mass = np.maximum(below[:, -1:], NEGLIGIBLE)
    group = 1 + np.minimum((below / mass * (DECODE_NODES - 1)).astype(int), DECODE_NODES - 2)
    group[:, 0] = 0
    rows = np.arange(len(others))[:, None] * DECODE_NODES + group
    shape = (len(others), DECODE_NODES)
    size = shape[0] * shape[1]
    total = np.bincount(rows.ravel(), chances.ravel(), size).reshape(shape)
    sums = np.bincount(rows.ravel(), (chances * counts).ravel(), size).reshape(shape)
    return np.where(total > 0, sums / np.where(total > 0, total, 1), 0.0), total


def _joining(
    law: TurnLaw, turns: Turns, others: np.ndarray, *, think: float
) -> tuple[Turns, np.ndarray, np.ndarray, np.ndarray]:
    """Return who may come to wait during a turn, with which chance, and how long they wait."""
    if think == 0:
        trials = np.rint(turns.members)
        # Those of a whole turn finish if any of its steps is their last.
        chance = turns.decode * turns.steps / law.length / np.maximum(trials, 1)
        late = (turns.steps - 1) / np.maximum(2 * turns.steps, 1) * (turns.steps > 1)
        waited = chance * trials * late * turns.seconds
        return turns, trials, np.clip(chance, 0, 1), waited
    idle = turns.seconds == 0
    first = np.where(others > 0, think / np.maximum(others, 1), 0.0)
    seconds = np.where(idle, first, turns.seconds)
    trials = np.where(idle, np.minimum(others, 1), np.rint(others))
    with np.errstate(over="ignore"):
        back = -np.expm1(-seconds / think)
    chance = np.where(idle, 1.0, back * others / np.maximum(trials, 1))
    waited = np.where(idle, 0.0, others * (seconds - think * back))
    return turns._replace(seconds=seconds), trials, np.clip(chance, 0, 1), waited


def _moves(
    users: int,
    turns: Turns,
    weight: np.ndarray,
    arriving: np.ndarray,
    chance: np.ndarray,
    *,
    stay: float,
) -> np.ndarray:
    """Return the chances of the next state, shape (S, S)."""
    states = users + 1
    start = np.broadcast_to(np.arange(states)[:, None, None], weight.shape).ravel()
    leave = np.broadcast_to(turns.prompts * stay, weight.shape).ravel()
    arriving, chance = (np.broadcast_to(a, weight.shape).ravel() for a in (arriving, chance))
    kept = weight.ravel() > NEGLIGIBLE
    start, leave, arriving, chance = start[kept], leave[kept], arriving[kept], chance[kept]
    joins = binomial(arriving.astype(np.int64), chance)
    fewer = np.floor(leave + 1e-9)
    moves = np.zeros(states * states)
    for gone, part in ((fewer, 1 - (leave - fewer)), (fewer + 1, leave - fewer)):
        chances = (weight.ravel()[kept] * np.clip(part, 0, 1))[:, None] * joins
        at, more = np.nonzero(chances > NEGLIGIBLE)
        after = np.clip(start[at] - gone[at].astype(np.int64), 0, None) + more
        cell = start[at] * states + np.minimum(after, users)
        moves += np.bincount(cell, chances[at, more], states * states)
    table = moves.reshape(states, states)
    return np.asarray(table / table.sum(axis=1, keepdims=True))


def _until_decode(
    law: TurnLaw,
    turns: Turns,
    weight: np.ndarray,
    moves: np.ndarray,
    *,
    waiting: np.ndarray,
    decoding: np.ndarray,
) -> np.ndarray:
    """Return the mean time until the next decode step ends, from each state, shape (S,)."""
    beside = law(waiting[:, None].astype(np.float64), np.maximum(decoding, 1.0))
    serves = beside.decode > 0
    kv = law.demand.stored * beside.decode
    one_step = law.seconds_of(beside.prefill, beside.decode, kv)
    blocked = (weight * ~serves).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))
    now = (weight * np.where(serves, one_step, beside.seconds)).sum(axis=(1, 2))
    blocked = np.minimum(blocked, 1 - 1e-9)
    return np.asarray(np.linalg.solve(np.eye(len(moves)) - blocked[:, None] * moves, now))


def binomial(count: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Return the chances of 0, 1, ... successes, shape (S, C); all that matter are listed."""
    chance = np.clip(chance, 0.0, 1.0)
    most = int(count.max(initial=0))
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, most + 1)))])
    mean = float((count * chance).max(initial=0.0))
    hits = np.arange(1 + min(most, int(mean + 8 * np.sqrt(mean) + 12)))
    misses = count[:, None] - hits
    possible = misses >= 0
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(hits > 0, hits * np.log(chance)[:, None], 0.0)
        terms = terms + np.where(misses > 0, misses * np.log1p(-chance)[:, None], 0.0)
    ways = logs[count][:, None] - logs[hits] - logs[np.where(possible, misses, 0)]
    chances = np.where(possible, np.exp(np.where(possible, ways + terms, -np.inf)), 0.0)
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def stationary(moves: np.ndarray) -> np.ndarray:
    """Return the stationary law, by inverse iteration, shape (S,)."""
    shifted = moves.T - (1 + 1e-12) * np.eye(len(moves))
    law = np.full(len(moves), 1 / len(moves))
    inverse_applied = np.linalg.solve
    for _ in range(3):
        law = np.abs(inverse_applied(shifted, law))
        law /= law.sum()
    return law
