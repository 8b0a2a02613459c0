"""Making a trial smaller while it still shows something.

A trial is written as numbers, none below 0, such that smaller ones stand for less: fewer
requests, shorter ones, closer together, of one tenant, on an engine with fewer limits. What
is left cannot be made smaller by leaving out a request or giving its tokens to another one,
by lowering a number, or by lowering two numbers by one. While there are many requests, they
are only left out.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations, product
from typing import TypeAlias, final

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine
from queueing_llm.verify.plays._trial import Arrival, Trial

Row: TypeAlias = tuple[int, ...]
Rows: TypeAlias = tuple[Row, ...]
"""One row of numbers per request; the last row is about the engine, empty if it is given."""
FEW = 12
"""Requests up to which a trial is small."""


def shrunk(trial: Trial, shows: Callable[[Trial], bool], *, keeps_engine: bool) -> Trial:
    """Return a trial that still shows what a given one shows, and no smaller one near it does.

    Parameters
    ----------
    trial : Trial
        Where to start: it shows what is looked for.
    shows : callable
        Whether a trial does.
    keeps_engine : bool
        Whether the engine has to stay as it is.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), token_budget=8, kv_capacity=30)
    >>> large = Trial(engine, (Arrival(2, 9, 4), Arrival(3, 5, 6), Arrival(7, 3, 1)))
    >>> small = shrunk(large, lambda trial: trial.work_tokens > 6, keeps_engine=False)
    >>> [(a.step, a.prompt_tokens, a.output_tokens) for a in small.arrivals], small.work_tokens
    ([(0, 3, 4)], 7)
    >>> small.engine.token_budget, small.engine.kv_capacity
    (1, None)
    """
    search = _Descent(trial, shows, keeps_engine=keeps_engine)
    while search.leaves_out() or (
        len(search.best.arrivals) <= FEW
        and (search.merges() or search.lowers_one() or search.lowers_two())
    ):
        pass
    return search.best


@final
class _Descent:
    """The way from a trial to a smaller one."""

    def __init__(
        self, trial: Trial, shows: Callable[[Trial], bool], *, keeps_engine: bool
    ) -> None:
        self.best, self.shows, self.keeps_engine = trial, shows, keeps_engine
        self.rows = _rows(trial, keeps_engine=keeps_engine)
        self.failed: set[Rows] = set()

    def accepts(self, rows: Rows) -> bool:
        """Go on from these numbers if they stand for a trial that shows it."""
        if rows in self.failed:
            return False
        trial = _trial(rows, self.best.engine, keeps_engine=self.keeps_engine)
        # A capacity is rounded up to whole blocks, so other numbers may stand for the same.
        if trial is None or trial == self.best or not self.shows(trial):
            self.failed.add(rows)
            return False
        self.best, self.rows = trial, _rows(trial, keeps_engine=self.keeps_engine)
        return True

    def leaves_out(self) -> bool:
        """Leave out requests, many at once first; whether any could be left out."""
        before, size = len(self.rows), len(self.rows) // 2
        while size:
            start = len(self.rows) - 1 - size
            while start >= 0:
                self.accepts(self.rows[:start] + self.rows[start + size :])
                start -= size
            size //= 2
        return len(self.rows) < before

    def merges(self) -> bool:
        """Give all tokens of a request, or of two neighbours, to another one."""
        count = len(self.rows) - 1
        for size, start, i in product((1, 2), range(count), range(count)):
            if start + size > count or start <= i < start + size:
                continue
            tokens = sum(sum(row[:2]) + 2 for row in self.rows[start : start + size])
            prompt, output, *others = self.rows[i]
            for longer in ((prompt + tokens, output), (prompt, output + tokens)):
                rows = [*self.rows[:i], (*longer, *others), *self.rows[i + 1 :]]
                if self.accepts((*rows[:start], *rows[start + size :])):
                    return True
        return False

    def lowers_one(self) -> bool:
        """Lower one number after the other; whether any could be lowered."""
        before = self.rows
        for place in _places(self.rows):
            self._lower((place,))
        return self.rows != before

    def lowers_two(self) -> bool:
        """Lower two numbers together; whether any two could be lowered."""
        before = self.rows
        for pair in combinations(_places(self.rows), 2):
            if min(self._numbers(pair)) > 0 and self.accepts(_lowered(self.rows, pair, by=1)):
                self._lower(pair)
        return self.rows != before

    def _lower(self, places: tuple[tuple[int, int], ...]) -> None:
        """Lower numbers together, by as much as bisection finds."""
        most = least_refused = min(self._numbers(places))
        if most == 0 or self.accepts(_lowered(self.rows, places, by=most)):
            return
        start, taken = self.rows, 0
        while least_refused - taken > 1:
            by = (taken + least_refused) // 2
            if self.accepts(_lowered(start, places, by=by)):
                taken = by
            else:
                least_refused = by

    def _numbers(self, places: tuple[tuple[int, int], ...]) -> Iterator[int]:
        return (self.rows[i][j] for i, j in places)


def _places(rows: Rows) -> list[tuple[int, int]]:
    return [(i, j) for i, row in enumerate(rows) for j in range(len(row))]


def _lowered(rows: Rows, places: tuple[tuple[int, int], ...], *, by: int) -> Rows:
    return tuple(
        tuple(number - by * ((i, j) in places) for j, number in enumerate(row))
        for i, row in enumerate(rows)
    )


def _rows(trial: Trial, *, keeps_engine: bool) -> Rows:
    """Return a trial as numbers: lengths beyond 1, gaps, tenants; limits, 0 for none."""
    engine, before = trial.engine, 0
    rows: list[Row] = []
    for a in trial.arrivals:
        gap = a.step - before
        rows.append((a.prompt_tokens - 1, a.output_tokens - 1, gap, a.class_index))
        before = a.step
    limits = (
        engine.kv_block_size - 1,
        engine.kv_capacity or 0,
        engine.max_batch_size or 0,
        engine.token_budget - 1,
    )
    return (*rows, () if keeps_engine else limits)


def _trial(rows: Rows, engine: Engine, *, keeps_engine: bool) -> Trial | None:
    """Return the trial that the numbers stand for; None if there is none."""
    *listed, limits = rows
    step, arrivals = 0, []
    for prompt, output, gap, tenant in listed:
        step += gap
        arrivals.append(Arrival(step, prompt + 1, output + 1, tenant))
    try:
        if not keeps_engine:
            longer, capacity, places, budget = limits
            block = longer + 1
            engine = replace(
                engine,
                token_budget=budget + 1,
                max_batch_size=places or None,
                kv_capacity=-(-capacity // block) * block or None,
                kv_block_size=block,
            )
        return Trial(engine, tuple(arrivals))
    except InvalidArgument:
        return None
