"""Two players serve the same random workloads, and are compared step by step."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import final

from queueing_llm.verify.adapters._fuzz_shrink import shrunk
from queueing_llm.verify.adapters._fuzz_workload import FieldWorkload, Player, Shown


@final
@dataclass(frozen=True, slots=True)
class FieldDifference:
    """The first step that two players do not take alike.

    Parameters
    ----------
    workload : FieldWorkload
        What they serve.
    step : int
        Counted from 0.
    one, other : mapping
        What each shows of it, as far as they differ; empty for one that has ended before.

    Examples
    --------
    >>> from queueing_llm.policies.field import VllmV1Config
    >>> workload = FieldWorkload(VllmV1Config(64, 2, num_blocks=100), ())
    >>> print(FieldDifference(workload, 3, {"tokens": {"a": 1}}, {"tokens": {}}))
    step 3: {'tokens': {'a': 1}} or {'tokens': {}} in
    FieldWorkload(VllmV1Config(max_num_batched_tokens=64, max_num_seqs=2, num_blocks=100), (
    ))
    """

    workload: FieldWorkload
    step: int
    one: Shown
    other: Shown

    def __str__(self) -> str:
        return f"step {self.step}: {self.one} or {self.other} in\n{self.workload}"


@final
@dataclass(frozen=True, slots=True)
class FuzzReport:
    """What came of a comparison.

    Parameters
    ----------
    workloads, steps, preemptions, hits, failures : int
        Workloads served; and by the second player in them, steps, preemptions, admissions
        that found tokens in a prefix cache, and workloads in which it ended by an error.
    differences : tuple of FieldDifference
        Shrunk, of the first workloads in which there is one.
    differing : int
        Workloads in which there is a difference.

    Examples
    --------
    >>> FuzzReport(100, 5_000, 12, 0, 0, (), 0).differing
    0
    """

    workloads: int
    steps: int
    preemptions: int
    hits: int
    failures: int
    differences: tuple[FieldDifference, ...]
    differing: int

    def __str__(self) -> str:
        text = (
            f"{self.workloads} workloads, {self.steps} steps, {self.preemptions} preemptions, "
            f"{self.hits} hits, {self.failures} failures: {self.differing} differ"
        )
        return "\n".join([text, *map(str, self.differences)])


def first_difference(
    one: Player, other: Player, workload: FieldWorkload
) -> FieldDifference | None:
    """Return the first step that two players do not take alike, or None.

    Parameters
    ----------
    one, other : Player
        Such as the rule model and the real code.
    workload : FieldWorkload
        What they serve.

    Returns
    -------
    FieldDifference or None
        In whatever both of them show; None too if both end by an error in the same step.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from queueing_llm.policies.field import FieldRequest, VllmV1Config
    >>> from queueing_llm.verify.adapters._fuzz_workload import played_by_model
    >>> def played_chunked(workload):
    ...     return played_by_model(replace(workload, config=VllmV1Config(4, 2, num_blocks=9)))
    >>> config = VllmV1Config(4, 2, num_blocks=9, enable_chunked_prefill=False)
    >>> workload = FieldWorkload(config, ((0, FieldRequest("a", 5, 1)),))
    >>> first_difference(played_by_model, played_chunked, workload).step
    0
    """
    return difference_of(workload, one(workload), other(workload))


def difference_of(
    workload: FieldWorkload, one: Sequence[Shown], other: Sequence[Shown]
) -> FieldDifference | None:
    """Return the first step of a workload that was not taken alike, or None.

    >>> from queueing_llm.policies.field import VllmV1Config
    >>> workload = FieldWorkload(VllmV1Config(64, 2, num_blocks=100), ())
    >>> difference_of(workload, [{"free": 3}, {"free": 2}], [{"free": 3}]).step
    1
    """
    nothing: Shown = {}
    for number, pair in enumerate(zip_longest(one, other, fillvalue=nothing)):
        differing = _differing(*pair)
        if differing is not None:
            return FieldDifference(workload, number, *differing)
    return None


def _differing(one: Shown, other: Shown) -> tuple[Shown, Shown] | None:
    """Return what differs in a step, of what both show; all of it if one is not there."""
    if not one or not other:
        return one, other
    names = [name for name in one if name in other and one[name] != other[name]]
    if not names:
        return None
    return {name: one[name] for name in names}, {name: other[name] for name in names}


def fuzz(
    one: Player,
    other: Player,
    workloads: Iterable[FieldWorkload],
    *,
    most_differences: int = 3,
) -> FuzzReport:
    """Let two players serve workloads, and count in how many they differ.

    Parameters
    ----------
    one, other : Player
        The rule model, and the real code.
    workloads : iterable of FieldWorkload
        Such as :func:`random_workloads`.
    most_differences : int
        How many are shrunk and kept.

    Examples
    --------
    >>> from queueing_llm.verify.adapters._fuzz_random import random_workloads
    >>> from queueing_llm.verify.adapters._fuzz_workload import played_by_model
    >>> drawn = random_workloads("vllm==0.6.3", number=3, seed=0)
    >>> fuzz(played_by_model, played_by_model, drawn).differing
    0
    """
    counts: Counter[str] = Counter()
    found: list[FieldDifference] = []
    for workload in workloads:
        first, second = one(workload), other(workload)
        counts.update(_counts(second))
        if difference_of(workload, first, second) is not None:
            counts["differing"] += 1
            if len(found) < most_differences:
                found.append(_shrunk(one, other, workload))
    names = ("workloads", "steps", "preemptions", "hits", "failures")
    numbers = {name: counts[name] for name in names}
    return FuzzReport(**numbers, differences=tuple(found), differing=counts["differing"])


def _counts(steps: Sequence[Shown]) -> dict[str, int]:
    def entries(name: str) -> int:
        return sum(len(step.get(name, ())) for step in steps)

    return {
        "workloads": 1,
        "steps": len(steps),
        "preemptions": entries("preempted"),
        "hits": entries("cached"),
        "failures": int(bool(steps and steps[-1]["failed"])),
    }


def _shrunk(one: Player, other: Player, workload: FieldWorkload) -> FieldDifference:
    def differs(small: FieldWorkload) -> bool:
        return first_difference(one, other, small) is not None

    small = shrunk(workload, differs)
    difference = first_difference(one, other, small)
    assert difference is not None
    return difference
