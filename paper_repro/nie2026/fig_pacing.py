"""Admission at an even pace nearly attains the memory bound; greedy admission does not. Ours.

The bound of arXiv:2605.04595 has the time of a batch constant. With a time of c + beta per
token it becomes one of three resources: beta w + c max(w / b, g / M) seconds a request. The
example is ours: c = 11.28 ms, beta = 35.47 / 128 ms, budget 512, M = 20,000, prompts of 100
and 400 output tokens, always more requests than fit. Compared are, each over whole cycles of
the saturated engine:

* pacing: one request every seventh batch, the fastest pace that fits;
* reservation: a request enters if the final sizes of all residents fit, 40 requests; this is
  the rule of vLLM v1 with ``max_batch_size`` 40, and its cycle is exact;
* look-ahead: a request enters if no later batch would overflow, its output being known;
* vLLM v1: a request enters if its prompt fits now, and the newest is evicted on overflow.
"""

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, final

import numpy as np

import queueing_llm as ql
from queueing_llm.plots import COLOURS, framed
from queueing_llm.reproduce import Computed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROMPT, OUTPUT, SLOTS, BUDGET = 100, 400, 20_000, 512
LIFE = OUTPUT + 1
"""Batches that a request is served in."""
EVERY = 7
SHOWN = 5 * LIFE
STEP = ql.AffineStepTime(base=Fraction("0.01128"), per_token=Fraction("0.03547") / 128)
ENGINE = ql.Engine(step_time=STEP, token_budget=BUDGET, kv_capacity=SLOTS)
FREE = ql.Engine(step_time=STEP, token_budget=BUDGET)
LOAD = ql.Workload.poisson(1, prompt_tokens=PROMPT, output_tokens=OUTPUT)


def compute(*, quick: bool = False) -> Computed:
    """Return bounds, rates over whole cycles, and the slots held batch by batch."""
    cycles = 1 if quick else 2
    paced, ahead = _watched(paced_policy(EVERY), cycles), _watched(look_ahead, cycles)
    evicting = ql.simulate(
        ENGINE, LOAD.scale_to(5), policy=ql.VLLM_V1, horizon=6000, warmup=600, seed=3
    )
    bounds = _bounds()
    rates = {
        "vLLM v1": evicting.throughput.value,
        "reservation": _reserved_rate(),
        "look-ahead": ahead.rate(LIFE),
        "pacing": paced.rate(EVERY * LIFE),
        "bound": bounds["bound"],
    }
    values = {
        **bounds,
        "paced": rates["pacing"],
        "paced_peak": max(paced.slots),
        "paced_share": rates["pacing"] / rates["bound"],
        "faster_pace_peak": max(_watched(paced_policy(EVERY - 1), 1, engine=FREE).slots),
        "look_ahead": rates["look-ahead"],
        "reservation": rates["reservation"],
        "greedy": evicting.throughput,
        "greedy_loses": _is_below(evicting.throughput, 0.75 * float(rates["bound"])),
        "greedy_evicts": evicting.preemptions > 0,
        "slowest_first": tuple(sorted(rates, key=rates.__getitem__)),
    }
    slots = {
        "batch": list(range(SHOWN)),
        "paced_tokens": paced.slots[:SHOWN],
        "look_ahead_tokens": ahead.slots[:SHOWN],
        "greedy_tokens": _watched(ql.VLLM_V1, cycles).slots[:SHOWN],
    }
    return Computed(values, {"slots": slots})


def plot(computed: Computed) -> "Figure":
    """Draw the slots held; what is not held below the limit is lost."""
    table = computed.tables["slots"]
    figure, axes = framed(
        "Look-ahead fills the cache in cohorts, eviction wastes what it holds; "
        "an even pace does neither",
        height=4.0,
    )
    greedy = computed["greedy"]
    for column, label, colour in (
        ("greedy_tokens", f"vLLM v1, evicting: {_shown(greedy)}/s", COLOURS[0]),
        ("look_ahead_tokens", f"look-ahead: {_shown(computed['look_ahead'])}/s", COLOURS[4]),
        ("paced_tokens", f"one every 7 batches: {_shown(computed['paced'])}/s", COLOURS[2]),
    ):
        heights = [tokens / 1000 for tokens in table[column]]
        axes.plot(table["batch"], heights, color=colour, linewidth=1.3, label=label)
    bound = f"M = 20,000; no policy exceeds {_shown(computed['bound'])}/s"
    axes.axhline(SLOTS / 1000, color="0.3", linestyle="--", label=bound)
    axes.set_xlabel("batch")
    axes.set_ylabel("KV slots held [thousand tokens]")
    axes.set_xlim(0, SHOWN)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def _bounds() -> dict[str, Any]:
    """Return what no policy exceeds, with the limit on KV memory and without it."""
    bound, tokens_only = ql.three_resource_bound(ENGINE, LOAD), ql.capacity(FREE, LOAD)
    if bound is None:
        msg = "an affine law has a bound"
        raise AssertionError(msg)
    return {
        "bound": Fraction(bound.requests_per_second),
        "binding_resource": bound.binding_resource,
        "tokens_only": Fraction(tokens_only.requests_per_second),
        "lifetime": Fraction(bound.batches * SLOTS),
    }


def _reserved_rate() -> Fraction:
    """Return the rate of the exact cycle in which final sizes are reserved [requests/s]."""
    residents = SLOTS // (PROMPT + OUTPUT)
    engine = ql.Engine(step_time=STEP, token_budget=BUDGET, max_batch_size=residents)
    cycle = ql.limit_cycle(engine, LOAD, policy=ql.VLLM_V1)
    if cycle is None:
        msg = "equal requests run into a cycle"
        raise AssertionError(msg)
    return Fraction(cycle.rate)


def _is_below(rate: ql.Estimate, limit: float) -> bool:
    """Whether a rate is below a limit by 3 standard errors."""
    return rate.value + 3 * rate.standard_error < limit


def paced_policy(every: int) -> ql.Policy:
    """Return the policy that serves all residents and admits one prompt every so many batches.

    Parameters
    ----------
    every : int
        Batches from one admission to the next.
    """

    def policy(state: ql.EngineState) -> ql.Batch:
        tokens = (state.prompt_left == 0).astype(np.int64)
        residents = np.flatnonzero(state.stored > 0)
        if len(residents) == 0 or state.stored[residents[-1]] - PROMPT >= every - 1:
            first = state.prefilling[:1]
            tokens[first] = state.prompt_left[first]
        return ql.Batch(tokens)

    return policy


def look_ahead(state: ql.EngineState) -> ql.Batch:
    """Serve all residents, and admit prompts while no later batch would overflow."""
    tokens = (state.prompt_left == 0).astype(np.int64)
    left, held = state.decode_left[state.decoding], state.stored[state.decoding]
    room = state.token_budget - len(left)
    for i in state.prefilling:
        prompt = int(state.prompt_left[i])
        left = np.append(left, state.decode_left[i] + 1)
        held = np.append(held, prompt - 1)
        # At the end of batch j those with more than j left hold held + j + 1; most before
        # somebody leaves.
        peak = max(int((held + j + 1)[left > j].sum()) for j in np.unique(left) - 1)
        if prompt > room or (state.kv_capacity is not None and peak > state.kv_capacity):
            break
        tokens[i] = prompt
        room -= prompt
    return ql.Batch(tokens)


@final
@dataclass(frozen=True, slots=True)
class _Watched:
    """What a saturated engine did: when batches end [ns], completions, slots at their ends."""

    ends: list[int]
    done: list[int]
    slots: list[int]

    def rate(self, batches: int) -> Fraction:
        """Return completions per second in the last whole cycles, half of the run at least."""
        whole = len(self.ends) // 2 // batches * batches
        seconds = Fraction(self.ends[-1] - self.ends[-1 - whole], 10**9)
        return sum(self.done[-whole:]) / seconds


def _watched(policy: ql.Policy, cycles: int, *, engine: ql.Engine = ENGINE) -> _Watched:
    """Watch an engine for twice so many lives as a pace has batches, with endless requests."""
    batches = 2 * cycles * EVERY * LIFE
    count = batches // 5
    load = ql.Workload.of_requests(
        [0] * count, prompt_tokens=[PROMPT] * count, output_tokens=[OUTPUT] * count
    )
    ends, done, slots = [], [], []
    for step in itertools.islice(ql.watch(engine, load, policy=policy, horizon=3600), batches):
        state, tokens = step.state, step.batch.tokens
        finishing = (state.prompt_left == 0) & (state.decode_left == 1) & (tokens > 0)
        ends.append(step.end)
        done.append(int(finishing.sum()))
        slots.append(int((state.stored + tokens)[~step.preempted].sum()))
    return _Watched(ends, done, slots)


def _shown(rate: object) -> str:
    return f"{rate.value if isinstance(rate, ql.Estimate) else float(rate):.3f}"  # type: ignore[arg-type]
