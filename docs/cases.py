"""Five cases that show what a broken contract costs in numbers: runs of schedulers."""

from collections.abc import Iterable

from queueing_llm.policies.field import (
    AbstractScheduler,
    FieldRequest,
    FieldStep,
    SarathiServeConfig,
    SarathiServeScheduler,
    VllmV0Config,
    VllmV0Scheduler,
    VllmV1Config,
    VllmV1Scheduler,
)

Arrival = tuple[int, FieldRequest]


def run(
    scheduler: AbstractScheduler, arrivals: Iterable[Arrival], *, most_steps: int = 1000
) -> list[FieldStep]:
    """Return the steps of a scheduler until it is idle, or that many."""
    upcoming, steps = list(arrivals), []
    while len(steps) < most_steps and (upcoming or not scheduler.is_idle):
        while upcoming and upcoming[0][0] <= len(steps):
            scheduler.add(upcoming.pop(0)[1])
        steps.append(scheduler.step())
    return steps


def computed(steps: Iterable[FieldStep]) -> int:
    """Return the tokens that were computed."""
    return sum(sum(step.tokens.values()) for step in steps)


def first_chunk() -> str:
    """Return what admission on room for a first chunk costs."""
    arrivals = [(0, FieldRequest("a", 150, 30)), (3, FieldRequest("b", 200, 3))]
    needed = sum(r.prompt_tokens + r.output_tokens - 1 for _, r in arrivals)
    found = {}
    for version in ("0.11.2", "0.33.0"):
        config = VllmV1Config(64, 8, num_blocks=21, version=version)
        steps = run(VllmV1Scheduler(config), arrivals)
        lost = sum(len(step.preempted) for step in steps)
        found[version] = (len(steps), computed(steps), lost)
    (_, old, lost), (_, new, _) = found["0.11.2"], found["0.33.0"]
    return (
        "**Prompts admitted on room for their first chunk start over and over** (vLLM 0.11.2, "
        "`whole_prompt_fits`). 20 blocks of 16 tokens, 64 tokens per step, prompts of 150 and "
        f"200. Needed are {needed} tokens. 0.11.2 computes {old:,} and preempts {lost} times; "
        f"0.33.0, which asks for room for the whole prompt, computes {new:,}. The engine looks "
        "busy all the time: load that is measured by tokens served is not load that is served."
    )


def long_prefill() -> str:
    """Return what a cap on long prompts costs the short ones behind."""
    arrivals = [
        (0, FieldRequest("long 1", 200, 3)),
        (0, FieldRequest("long 2", 200, 3)),
        (1, FieldRequest("short", 5, 6)),
    ]
    firsts = {}
    for cap in (24, 0):
        config = VllmV1Config(32, 8, num_blocks=1000, long_prefill_token_threshold=cap)
        steps = run(VllmV1Scheduler(config), arrivals)
        firsts[cap] = {
            r.name: next(i for i, step in enumerate(steps) if r.name in step.tokens)
            for _, r in arrivals
        }
    return (
        "**A cap on long prompts serves several of them at once, and nobody behind** (vLLM "
        "0.33.0 with `long_prefill_token_threshold`; `first_come_first_served`, "
        "`work_conserving`). 32 tokens per step, a cap of 24, two prompts of 200 tokens, then "
        f"one of 5: it first runs in step {firsts[24]['short']}. Without the cap it waits for "
        f"both prompts to be complete, until step {firsts[0]['short']}. So the cap helps here, "
        "but not as far as it is meant to: two long prompts are enough to fill the batch, and "
        "a long prompt alone leaves room that nobody uses."
    )


def restart() -> str:
    """Return how many tokens Sarathi-Serve emits after preemptions."""
    arrivals = [(0, FieldRequest(f"r{i}", 30, 40)) for i in range(4)]
    found = {}
    for with_defects in (True, False):
        config = SarathiServeConfig(
            "sarathi",
            4,
            num_blocks=10,
            block_size=16,
            max_model_len=160,
            chunk_size=128,
            with_defects=with_defects,
        )
        steps = run(SarathiServeScheduler(config), arrivals)
        found[with_defects] = (computed(steps), len(steps))
    (much, long), (less, short) = found[True], found[False]
    return (
        "**A preempted request counts its output anew** (Sarathi-Serve at 96f9911, "
        "`conservation`). Four requests of 30 + 40 tokens on 10 blocks take "
        f"{much} tokens in {long} steps; with the count kept, {less} in {short}. Under memory "
        "pressure the work that arrives is more than was asked for, so the load grows with "
        "the backlog."
    )


def alone() -> str:
    """Return how a lone request of vLLM 0.6.3 preempts itself."""
    config = VllmV0Config(3, 1, num_blocks=3, block_size=2, enable_chunked_prefill=True)
    steps = run(VllmV0Scheduler(config), [(0, FieldRequest("a", 5, 1))], most_steps=1000)
    lost = sum(len(step.preempted) for step in steps)
    done = sum(len(step.finished) for step in steps)
    return (
        "**A request alone in the engine preempts itself for ever** (vLLM 0.6.3 with chunked "
        "prefills, `finishes`). A prompt of 5 tokens in chunks of 3, three blocks of 2, which "
        f"is all that it needs: in {len(steps):,} steps it is preempted {lost} times and "
        f"finished {done} times. The last chunk asks for a free block although the one that it "
        "holds has room. From 100 blocks on, the watermark turns such a request away instead."
    )


def never_computed() -> str:
    """Return what the prefix cache finds of a request that lost its place in the same step."""
    requests = [
        (0, FieldRequest("x", 16, 1, priority=2, arrival=0)),
        (0, FieldRequest("z", 1, 1, priority=3, arrival=1)),
        (1, FieldRequest("y", 6, 1, priority=0, arrival=2)),
    ]
    steps, before = [], 0
    config = VllmV1Config(
        6,
        4,
        num_blocks=11,
        block_size=2,
        policy="priority",
        long_prefill_token_threshold=4,
        enable_prefix_caching=True,
    )
    steps = run(VllmV1Scheduler(config), requests)
    back = max(i for i, step in enumerate(steps) if "x" in step.cached)
    before = sum(step.tokens.get("x", 0) for step in steps[:back])
    return (
        "**Blocks that were never computed are found in the prefix cache** (vLLM 0.11.2, "
        "0.32.0 and 0.33.0, priorities with prefix caching; no contract here is about it, the "
        "comparison with the real scheduler found it). A request that is served and preempted "
        f"in one step leaves full blocks known. One that has computed {before} tokens of its "
        f"prompt finds {steps[back].cached['x']} when it comes back, so it reads "
        f"{steps[back].cached['x'] - before} that nobody wrote."
    )


CASES = (first_chunk, long_prefill, restart, alone, never_computed)
