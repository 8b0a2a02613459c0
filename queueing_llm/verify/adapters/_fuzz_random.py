"""Random workloads for schedulers of the field, so small that every limit binds.

Lengths lie around multiples of the block size, arrivals come in bursts, and the KV cache holds
little more than the longest request. What is drawn is what a server would start with, but that
a request of vLLM may be larger than the whole cache, or, where prompts are whole, than the
budget: the scheduler alone accepts it.
"""

from collections.abc import Callable, Iterator, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies.field import (
    VLLM_V1_RELEASES,
    FieldRequest,
    SglangConfig,
    VllmV0Config,
    VllmV1Config,
    blocks_for,
)
from queueing_llm.verify.adapters._fuzz_workload import FieldConfig, FieldWorkload

MOST_REQUESTS = 14
MOST_OUTPUT = 40
BELIEVED = 4096
"""What SGLang believes of a promised output at most [tokens]."""


def random_workloads(system: str, *, number: int, seed: int) -> Iterator[FieldWorkload]:
    """Yield random workloads for a system, always the same ones for a seed.

    Parameters
    ----------
    system : str
        A key of :data:`DRAWN`, such as ``"vllm==0.33.0"``.
    number : int
        How many; more begin with those of less.
    seed : int
        Of the generator.

    Raises
    ------
    InvalidArgument
        If there is no such system.

    Examples
    --------
    >>> [workload] = random_workloads("vllm==0.6.3", number=1, seed=1)
    >>> len(workload.requests)
    4
    """
    if system not in DRAWN:
        msg = f"there are no workloads for system {system!r}: {nearest(system, DRAWN)}."
        raise InvalidArgument(msg)
    for index in range(number):
        yield DRAWN[system](Random(f"{system} {seed} {index}"))


def _drawn_v1(version: str) -> Callable[[Random], FieldWorkload]:
    def draw(random: Random) -> FieldWorkload:
        is_crowded, has_cache = random.random() < 0.4, random.random() < 1 / 3
        is_chunked = is_crowded or random.random() < 0.7
        block_size = random.choice((1, 2, 4) if is_crowded else (1, 4, 8, 16))
        budget = _budget(random, is_chunked=is_chunked, is_crowded=is_crowded)
        longest = _longest(random, 60 if is_crowded else 200 if is_chunked else budget)
        rows = _rows(random, longest=longest, block_size=block_size)
        is_urgent = is_crowded and random.random() < 0.3
        if is_urgent:
            _let_urgent_ones_come_last(rows)
        if has_cache:
            rows = _with_prefixes(random, rows, block_size=block_size)
        blocks = _blocks(random, rows, block_size=block_size, is_crowded=is_crowded)
        config: dict[str, Any] = {
            "num_blocks": 1 + blocks,
            "block_size": block_size,
            "version": version,
            "enable_chunked_prefill": is_chunked,
            "policy": "priority" if is_urgent or random.random() < 0.4 else "fcfs",
            "enable_prefix_caching": has_cache,
        }
        if is_urgent or random.random() < 0.3:
            config["long_prefill_token_threshold"] = random.randint(2, budget)
        if VLLM_V1_RELEASES[version].reserves_prompts:
            reserves = (None, True, False, False) if is_crowded else (None, True, False)
            config["scheduler_reserve_full_isl"] = random.choice(reserves)
            config["watermark"] = 0 if is_crowded else random.choice((0, 0.02, 0.1, 0.3))
        if VLLM_V1_RELEASES[version].paces_prefills and random.random() < 0.2:
            config["prefill_schedule_interval"] = random.randint(2, 6)
        seats = _seats(random, budget, is_crowded=is_crowded)
        return _arrived(random, VllmV1Config(budget, seats, **config), rows)

    return draw


def _drawn_v0(random: Random) -> FieldWorkload:
    is_crowded, is_chunked = random.random() < 0.3, random.random() < 0.5
    has_cache = random.random() < 1 / 3
    block_size = random.choice((1, 2, 4) if is_crowded else (1, 4, 8, 16))
    budget = _budget(random, is_chunked=is_chunked, is_crowded=is_crowded)
    if has_cache and is_chunked:
        # It starts only with a budget of whole blocks.
        budget = max(budget - budget % block_size, block_size)
    longest = _longest(random, 60 if is_crowded else 200 if is_chunked else budget + 9)
    rows = _rows(random, longest=longest, block_size=block_size)
    if has_cache:
        rows = _with_prefixes(random, rows, block_size=block_size)
    config = VllmV0Config(
        budget,
        _seats(random, budget, is_crowded=is_crowded),
        num_blocks=_blocks(random, rows, block_size=block_size, is_crowded=is_crowded),
        block_size=block_size,
        enable_chunked_prefill=is_chunked,
        enable_prefix_caching=has_cache,
    )
    return _arrived(random, config, rows)


def _budget(random: Random, *, is_chunked: bool, is_crowded: bool) -> int:
    if is_crowded and is_chunked:
        return random.choice((4, 8, 12, 24))
    return random.choice((8, 16, 32, 64, 100, 256) if is_chunked else (64, 100, 256))


def _seats(random: Random, budget: int, *, is_crowded: bool) -> int:
    """Return a limit on requests, which vLLM wants to be at most the budget."""
    return min(random.randint(4 if is_crowded else 1, 8), budget)


def _drawn_sglang(random: Random) -> FieldWorkload:
    is_crowded, is_huge = random.random() < 0.5, random.random() < 0.05
    rows = _rows(random, longest=_longest(random, 200), block_size=1)
    for row in rows:
        if is_crowded:
            row["prompt_tokens"], row["output_tokens"] = (
                random.randint(1, 40),
                random.randint(9, 60),
            )
        surplus = random.choice((0, 0, 5) if is_crowded else (0, 5, 20, 80))
        row["most_output_tokens"] = row["output_tokens"] + surplus
        if is_huge:
            row["most_output_tokens"] += random.randint(BELIEVED - 20, BELIEVED + 500)
    needed = max(row["prompt_tokens"] + row["most_output_tokens"] for row in rows)
    share = random.choice((0.4, 1, 2) if is_crowded else (0.02, 0.3, 1, 3))
    config = SglangConfig(
        needed + 1 + int(needed * share * random.random()),
        random.randint(1, 8),
        chunked_prefill_size=random.choice((10, 32, 64, 128, 256)),
        max_prefill_tokens=random.choice((16, 64, 200, 16384)),
        mixed=random.random() < 0.5,
        # What begins at little is retracted often.
        conservativeness=random.choice((0.1, 0.2, 0.3) if is_crowded else (0.3, 1, 1.6)),
    )
    return _arrived(random, config, rows)


def _longest(random: Random, most: int) -> int:
    """Return the most prompt and output tokens of a request of this workload."""
    return min(most, random.choice((12, 40, 100, 200)))


def _rows(random: Random, *, longest: int, block_size: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(random.randint(1, MOST_REQUESTS)):
        output = random.randint(1, min(MOST_OUTPUT, longest - 1))
        room = longest - output
        prompt = random.randint(1, room)
        if random.random() < 0.4:
            prompt = block_size * random.randint(1, 6) + random.choice((-1, 0, 1))
        rows.append(
            {
                "name": f"r{number}",
                "prompt_tokens": min(max(prompt, 1), room),
                "output_tokens": output,
                "priority": random.randint(0, 2),
            }
        )
    return rows


def _with_prefixes(
    random: Random, rows: list[dict[str, Any]], *, block_size: int
) -> list[dict[str, Any]]:
    """Let prompts begin with one of three texts, some of them with nothing else."""
    for row in rows:
        prompt = row["prompt_tokens"]
        shared = random.choice((prompt, random.randint(0, prompt), 3 * block_size, 0))
        if shared:
            row["prefix"] = (random.choice("abc"), min(shared, prompt))
    return rows


def _let_urgent_ones_come_last(rows: list[dict[str, Any]]) -> None:
    """Let a request that was served give way to another in the same step.

    For that the later one has to be the more urgent one, and to need what the other holds.
    """
    rows.sort(key=lambda row: -row["priority"])
    for row in rows[len(rows) // 2 :]:
        row["priority"] = 0
        row["prompt_tokens"] = min(row["prompt_tokens"], 12)


def _blocks(
    random: Random, rows: list[dict[str, Any]], *, block_size: int, is_crowded: bool
) -> int:
    """Return a number of blocks: often what the longest request needs, seldom plenty."""
    needed = max(
        blocks_for(row["prompt_tokens"] + row["output_tokens"], block_size=block_size)
        for row in rows
    )
    share = random.choice((1, 1.2, 1.5) if is_crowded else (0.9, 1, 1.2, 1.5, 2, 3, 8))
    return max(int(needed * share) + random.randint(0, 2), 1)


def _arrived(random: Random, config: FieldConfig, rows: list[dict[str, Any]]) -> FieldWorkload:
    """Let the requests arrive at once, in bursts, or one by one."""
    last = random.choice((0, 3, 12, 30))
    burst = random.choice((1, 5, 15))
    steps = sorted(random.randint(0, last) // burst * burst for _ in rows)
    return FieldWorkload(
        config,
        tuple(
            (step, FieldRequest(arrival=number, **row))
            for number, (step, row) in enumerate(zip(steps, rows, strict=True))
        ),
    )


DRAWN: Mapping[str, Callable[[Random], FieldWorkload]] = MappingProxyType(
    {
        **{f"vllm=={version}": _drawn_v1(version) for version in VLLM_V1_RELEASES},
        "vllm==0.6.3": _drawn_v0,
        "sglang==0.5.6": _drawn_sglang,
    }
)
"""The systems that there are random workloads for, and what draws one."""
