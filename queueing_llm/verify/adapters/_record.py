"""Choosing the workloads of a recording: short ones, among them those that tell most."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields

from queueing_llm.verify.adapters._fuzz import difference_of
from queueing_llm.verify.adapters._fuzz_workload import FieldWorkload, Player, Shown
from queueing_llm.verify.adapters._record_file import FieldRecording

MOST_RUNS = 66
LONGEST_RUN = 80
TIMES = 3
"""How often something is to occur."""


def recorded(
    system: str,
    player: Player,
    workloads: Iterable[FieldWorkload],
    *,
    python: str,
    rivals: Sequence[Player] = (),
    most_runs: int = MOST_RUNS,
    longest_run: int = LONGEST_RUN,
) -> FieldRecording:
    """Record some of the workloads: first those in which occurs what is rare.

    Parameters
    ----------
    system : str
        Whose player it is, such as ``"vllm==0.33.0"``.
    player : Player
        Who serves them.
    workloads : iterable of FieldWorkload
        To choose from.
    python : str
        The interpreter that runs the system.
    rivals : sequence of Player
        Who do it a little differently: what tells one of them from the player is rare, too.
    most_runs : int
        How many to record.
    longest_run : int
        Workloads that take more steps are left out.

    Examples
    --------
    >>> from queueing_llm.verify.adapters._fuzz_random import random_workloads
    >>> from queueing_llm.verify.adapters._fuzz_workload import played_by_model
    >>> drawn = random_workloads("vllm==0.6.3", number=9, seed=0)
    >>> len(recorded("vllm==0.6.3", played_by_model, drawn, python="", most_runs=2).runs)
    2
    """
    occurred: Counter[str] = Counter()
    telling: list[tuple[FieldWorkload, Sequence[Shown]]] = []
    others: list[tuple[FieldWorkload, Sequence[Shown]]] = []
    for workload in workloads:
        steps = player(workload)
        if len(steps) > longest_run:
            continue
        features = {*_features(workload, steps)}
        for number, rival in enumerate(rivals):
            # Once is told often enough; to ask again takes time.
            name = f"unlike rival {number}"
            if occurred[name] < TIMES and difference_of(workload, rival(workload), steps):
                features.add(name)
        is_rare = any(occurred[feature] < TIMES for feature in features)
        (telling if is_rare else others).append((workload, steps))
        occurred.update(features if is_rare else ())
    return FieldRecording(system, python, (*telling, *others)[:most_runs])


def _features(workload: FieldWorkload, steps: Sequence[Shown]) -> Iterator[str]:
    """Yield the settings that are not as by default, and what happened."""
    config = workload.config
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, bool | str | None):
            yield f"{field.name}={value}"
        elif field.default is not MISSING and value != field.default:
            yield field.name
    for step in steps:
        tokens: dict[str, int] = step.get("tokens", {})
        yield f"mode={step.get('mode')}"
        if not tokens and step.get("waiting"):
            yield "waits in vain"
        if step.get("preempted"):
            yield "preempted and served" if tokens else "preempted"
            if len(step["preempted"]) > 1:
                yield "several preempted"
    if steps and not steps[-1].get("is_idle"):
        yield "is never done"
