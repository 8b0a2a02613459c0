"""Every small trial, for schedulers whose memory no list of states can cover."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, product

from queueing_llm.model import Engine
from queueing_llm.policies.field import FieldSystem
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.findings._report import (
    AGAIN,
    Finding,
    Outcome,
    Support,
    broken_by,
    was_broken,
)
from queueing_llm.verify.plays._play import play
from queueing_llm.verify.plays._trial import Arrival, Trial
from queueing_llm.verify.search._search import Survey

REQUESTS, PROMPT, OUTPUT, LAST_STEP = 3, 3, 2, 2
BUDGETS = (2, 5)
PLACES = (None, 1, 2)
CAPACITIES = (None, 4, 6)
SCOPE = (
    f"at most {REQUESTS} requests in the first {LAST_STEP + 1} steps, prompts of at most "
    f"{PROMPT} and outputs of at most {OUTPUT} tokens"
)


def small_trials(engine: Engine | None = None) -> Iterator[Trial]:
    """Yield every trial with few, short and early requests, smallest first.

    Parameters
    ----------
    engine : Engine, optional
        Whose limits to use; by default each of 18 small engines.

    Examples
    --------
    >>> sum(1 for _ in small_trials())
    25380
    """
    engines = [engine] if engine is not None else list(_engines())
    lengths = list(product(range(1, PROMPT + 1), range(1, OUTPUT + 1)))
    for number in range(1, REQUESTS + 1):
        for later in combinations_with_replacement(range(LAST_STEP + 1), number - 1):
            for sizes in product(lengths, repeat=number):
                arrivals = tuple(
                    Arrival(step, prompt, output)
                    for step, (prompt, output) in zip((0, *later), sizes, strict=True)
                )
                for one in engines:
                    if _fits(one, arrivals):
                        yield Trial(one, arrivals)


def all_played(
    system: FieldSystem, findings: Sequence[Finding], *, engine: Engine | None
) -> list[Finding]:
    """Return the findings about a scheduler after it has played every small trial."""
    left = {
        finding.contract.name: finding
        for finding in findings
        if not was_broken(finding) and finding.contract.about != "whole"
    }
    seen = Survey([finding.contract for finding in left.values()])
    broken: dict[str, Counterexample] = {}
    for trial in small_trials(engine):
        played = play(system, trial)
        seen.add(system, played)
        for name in seen.broken - broken.keys():
            found = left[name].contract.first_breach(system, played)
            if found is not None:
                cut = replace(played, decisions=played.decisions[: found[0] + 1])
                broken[name] = Counterexample(cut, found[1])
    return [_seen(finding, seen, broken, engine) for finding in findings]


def _seen(
    finding: Finding,
    seen: Survey,
    broken: dict[str, Counterexample],
    engine: Engine | None,
) -> Finding:
    name = finding.contract.name
    if name in broken:
        found = broken[name]
        return broken_by(found, finding)
    if name in seen.broken:
        return replace(finding, outcome=Outcome.UNDECIDED, support=Support.NONE, basis=AGAIN)
    if was_broken(finding) or not seen.tested.get(name):
        return finding
    engines = "small engines" if engine is None else "this engine"
    refused = f", {seen.refused:,} of them turned away" if seen.refused else ""
    basis = f"all {seen.plays:,} trials with {SCOPE}, on {engines}{refused}, if deterministic"
    return replace(
        finding,
        outcome=Outcome.HOLDS,
        support=Support.EXHAUSTIVE,
        basis=basis,
        tested=seen.tested[name],
    )


def _engines() -> Iterator[Engine]:
    for budget, places, capacity in product(BUDGETS, PLACES, CAPACITIES):
        yield Engine(
            AffineStepTime(1, 0),
            budget,
            max_batch_size=places,
            kv_capacity=capacity,
            first_token_from_prefill=True,
        )


def _fits(engine: Engine, arrivals: Sequence[Arrival]) -> bool:
    capacity = engine.kv_capacity
    return capacity is None or all(
        engine.work_tokens(arrival.prompt_tokens, arrival.output_tokens) <= capacity
        for arrival in arrivals
    )
