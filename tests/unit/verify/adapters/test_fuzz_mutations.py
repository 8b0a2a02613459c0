"""One changed rule of a model, and the comparisons have to notice.

The random workloads are served by the model itself in place of the real code, which does as the
model does wherever they were compared; so what is missed here is missed by the fuzz.
"""

import functools
import inspect
import sys
import types
from pathlib import Path
from unittest import mock

import pytest

from queueing_llm.policies.field import (
    FieldRequest,
    VllmV1Config,
    _field_jobs,
    _sglang,
    _vllm_jobs,
    _vllm_prefix_cache,
    _vllm_prefix_sharing,
    _vllm_v0,
    _vllm_v1,
)
from queueing_llm.verify.adapters import open_worker
from queueing_llm.verify.adapters._fuzz import first_difference
from queueing_llm.verify.adapters._fuzz_live import played_live
from queueing_llm.verify.adapters._fuzz_random import random_workloads
from queueing_llm.verify.adapters._fuzz_workload import (
    FieldWorkload,
    play_field,
    played_by_model,
)
from queueing_llm.verify.adapters._record import recorded
from queueing_llm.verify.adapters._record_file import read_recording, write_recording

RECORDINGS = Path(__file__).parents[3] / "data" / "recordings"
V1 = ("vllm==0.33.0", "vllm==0.32.0", "vllm==0.11.2")
MODELS = {
    "v1": ((_vllm_jobs, _vllm_prefix_cache, _vllm_v1), "VllmV1Scheduler", V1),
    "v0": ((_vllm_jobs, _vllm_prefix_sharing, _vllm_v0), "VllmV0Scheduler", ("vllm==0.6.3",)),
    "sglang": ((_field_jobs, _sglang), "SglangScheduler", ("sglang==0.5.6",)),
}
LONGEST_RUN = {"v1": 80, "v0": 120, "sglang": 200}
"""Steps of a recorded run: it takes some for a cache to be full, or an estimate wrong."""

WORKLOADS = 800
"""Per system."""

MUTATIONS = [
    # Who is preempted, and where it waits.
    ("v1", "victim = self._running[-1]", "victim = self._running[0]"),
    ("v1", "victim = max(", "victim = min("),
    ("v1", "self._queue(victim, place=0)", "self._queue(victim, place=len(self._waiting))"),
    ("v1", "self._waiting.insert(place, job)", "self._waiting.append(job)"),
    ("v1", "if not draft.preempted:", "if True:"),
    ("v1", "elif not self._config.goes_on_after_own_preemption:", "else:"),
    ("v1", "self.left += self.batch.pop(job, 0)", "self.batch.pop(job, 0)"),
    ("v1", "job.goal = job.length", "job.goal = job.request.prompt_tokens"),
    ("v1", "self._pool.missing(job, tokens) > self._pool.free", "self._pool.free < 1"),
    # Who is admitted.
    (
        "v1",
        "len(self._running) < config.max_num_seqs",
        "len(self._running) <= config.max_num_seqs",
    ),
    ("v1", "(config.watermark_blocks if self._running else 0)", "config.watermark_blocks"),
    ("v1", "(config.watermark_blocks if self._running else 0)", "0"),
    ("v1", "job.length if config.reserves_prompts else tokens", "tokens"),
    ("v1", "job.length if config.reserves_prompts else tokens", "job.length"),
    ("v1", "return needed <= spare", "return needed < spare"),
    ("v1", "if not config.release.passes_oversized:", "if True:"),
    ("v1", "reversed(passed) if config.reverses_passed else passed", "passed"),
    # How much each gets.
    ("v1", "if is_alone and self._config.release.spares_lone_request:", "if False:"),
    ("v1", "return todo if self._cap is None else min(todo, self._cap)", "return todo"),
    ("v1", "tokens = draft.share(job.todo)", "tokens = draft.share(1)"),
    ("v1", "blocks_for(tokens, block", "blocks_for(tokens + 1, block"),
    ("v1", "since < self._config", "since <= self._config"),
    ("v1", "and not self._queue_was_left", ""),
    ("v1", "if held_back and todo > 1:", "if held_back:"),
    ("v1", "or (held_back and job.is_prefilling)", ""),
    # What the prefix cache finds.
    ("v1", "range((job.length - 1) // self", "range(job.length // self"),
    ("v1", "range((job.length - 1)", "range((job.request.prompt_tokens - 1)"),
    ("v1", "popitem(last=False)", "popitem(last=True)"),
    ("v1", "for block in reversed(table):", "for block in table:"),
    (
        "v1",
        "if block.content is None and self._reuses_blank_first:",
        "if block.content is None:",
    ),
    ("v1", "if not self._keeps_uncomputed:", "if True:"),
    ("v1", "sum(block.holders > 0 for block in hits)", "len(hits)"),
    ("v1", "- sum(block.holders > 0 for block in hits)", ""),
    ("v1", "found.append(next(iter(same)))", "found.append(next(reversed(same)))"),
    # vLLM v0.
    ("v0", "< config.watermark_blocks", "<= config.watermark_blocks"),
    ("v0", "< config.watermark_blocks", "< 0"),
    ("v0", "members == config.max_num_seqs", "members > config.max_num_seqs"),
    ("v0", "victim = self._running.pop() if", "victim = self._running.pop(0) if"),
    ("v0", "[:0] = reversed(draft.preempted)", "[:0] = draft.preempted"),
    ("v0", "self._waiting[:0] = reversed(", "self._waiting += reversed("),
    ("v0", "job.is_prefilling and self._pool.has_full_blocks(job)", "job.is_prefilling"),
    ("v0", "job.is_prefilling and self._pool.has_full_blocks(job)", "False"),
    ("v0", "if not draft.batch:", "if True:"),
    ("v0", "members=len(draft.batch)", "members=0"),
    ("v0", "members=len(self._running)", "members=0"),
    ("v0", "if not self._could_ever_admit(job):", "if False:"),
    ("v0", "tokens -= tokens % self._config.block_size", "pass"),
    ("v0", "shared // self._block_size", "-(-shared // self._block_size)"),
    ("v0", "- before - found", "- before"),
    ("v0", "job.blocks - sum(self._holders[block] > 0 for block in shared)", "job.blocks"),
    ("v0", "job.computed = 0", "job.computed = job.computed // 2"),
    # SGLang.
    ("sglang", "self._ratio = self._config.first_ratio\n            return", "return"),
    ("sglang", "decayed = self._ratio - self._config.ratio_decay", "decayed = self._ratio"),
    ("sglang", "sort(key=progress, reverse=True)", "sort(key=progress)"),
    ("sglang", "return job.generated, -job.prompt", "return job.generated, job.prompt"),
    ("sglang", "self._waiting += retracted", "self._waiting[:0] = retracted"),
    ("sglang", "STEPS_AFTER_RETRACTION = 20", "STEPS_AFTER_RETRACTION = 18"),
    ("sglang", "expected / (promised + 1)", "expected / promised"),
    ("sglang", "MOST_PROMISED = 4096", "MOST_PROMISED = 4100"),
    ("sglang", "_promised(job) >= self._left", "_promised(job) > self._left"),
    ("sglang", "job.length >= self._input_left", "job.length > self._input_left"),
    ("sglang", "self._is_full or len(draft.batch) >= places", "self._is_full"),
    ("sglang", "if len(self._running) < before:", "if False:"),
    ("sglang", "places <= 0:\n                self._is_full = True", "places <= 0:"),
    ("sglang", "_most_promised(job) if tokens == rest else 0", "0"),
    ("sglang", "decodes = len(running) if config.mixed else 0", "decodes = 0"),
    ("sglang", " or (joining and not self._running):", ":"),
    (
        "sglang",
        "if self._is_full:\n                break",
        "if not draft.is_open:\n                break",
    ),
]


# Without a seat nobody is admitted, whether or not the engine is then called full: it is no
# longer called full as soon as somebody leaves. So this one is no change.
EQUIVALENT = "places <= 0:\n                self._is_full = True"
# A prompt has to lose blocks in the very step that was to fill them, to a request that came
# later and is more urgent, and some of them have to be left when it is back.
TOO_RARE = "if not self._keeps_uncomputed:"
# The ratio after a retraction matters where a later prompt nearly fits.
NOT_RECORDED = ("STEPS_AFTER_RETRACTION = 20", "expected / (promised + 1)")


def mutant(model, old, new):
    """Return the player of a model in whose code one line is changed."""
    modules, scheduler, _ = MODELS[model]
    sources = [inspect.getsource(module) for module in modules]
    assert sum(source.count(old) for source in sources) == 1, old
    with mock.patch.dict(sys.modules):
        for module, source in zip(modules, sources, strict=True):
            copy = sys.modules[module.__name__] = types.ModuleType(module.__name__)
            exec(compile(source.replace(old, new), module.__name__, "exec"), copy.__dict__)

    def play(workload):
        return tuple(play_field(getattr(copy, scheduler)(workload.config), workload.arrivals))

    return play


def notices(play, workload, steps):
    """Whether a player does otherwise than what is known, or cannot go on at all."""
    try:
        return first_difference(play, lambda _: steps, workload) is not None
    except Exception:
        return True


@functools.cache
def served(model):
    """Return random workloads, the systems of a model in turn, and what it does with them."""
    drawn = [random_workloads(name, number=WORKLOADS, seed=7) for name in MODELS[model][2]]
    workloads = [workload for turn in zip(*drawn, strict=True) for workload in turn]
    return [(workload, played_by_model(workload)) for workload in workloads]


@functools.cache
def on_record(model):
    """Return what is recorded of the systems of a model."""
    names = [name.replace("==", "-") for name in MODELS[model][2]]
    files = [read_recording(RECORDINGS / f"{name}.json") for name in names]
    return [run for file in files for run in file.runs]


def caught_after(mutation, runs):
    """Return how many workloads it takes to tell the mutation from the model, or None."""
    play = mutant(*mutation)
    numbers = (n for n, run in enumerate(runs, start=1) if notices(play, *run))
    return next(numbers, None)


def missed_by(runs):
    """Return the lines whose change some runs do not tell from the model."""
    return [it[1] for it in MUTATIONS if caught_after(it, runs(it[0])) is None]


def test_the_model_itself_compiled_anew_is_not_caught():
    """Control: what is caught is the mutation."""
    unchanged = [(m, "is_idle(self) -> bool:", "is_idle(self) -> bool:") for m in MODELS]
    assert [caught_after(it, on_record(it[0])) for it in unchanged] == [None] * 3


def test_recordings_catch_mutations():
    assert missed_by(on_record) == [*NOT_RECORDED, EQUIVALENT]


@pytest.mark.slow
def test_random_workloads_catch_mutations():
    assert missed_by(served) == [TOO_RARE, EQUIVALENT]


def displaced(version):
    """Return a workload in which a prompt loses blocks in the very step that was to fill them.

    It is rare among random ones: the later request has to be the more urgent one, to run beside
    the prompt, and to leave some of its blocks alone until it comes back.
    """
    config = VllmV1Config(
        15,
        2,
        num_blocks=63,
        block_size=1,
        version=version,
        policy="priority",
        long_prefill_token_threshold=9,
        scheduler_reserve_full_isl=None if version == "0.11.2" else False,
        enable_prefix_caching=True,
    )
    prompt, urgent = FieldRequest("r0", 49, 8, priority=1), FieldRequest("r1", 12, 6, arrival=1)
    return FieldWorkload(config, ((0, prompt), (1, urgent)))


def never_failing(play):
    """Return a player that shows nothing where a mutation cannot go on."""

    def tried(workload):
        try:
            return play(workload)
        except Exception:
            return ()

    return tried


def record(environment, say, *, only=()):
    """Record the real code anew, by workloads that tell mutations apart where they can."""
    for model, (_, _, systems) in MODELS.items():
        rivals = [never_failing(mutant(*it)) for it in MUTATIONS if it[0] == model]
        for system in systems if not only else set(systems) & set(only):
            drawn = list(random_workloads(system, number=1000, seed=11))
            drawn[:0] = [displaced(system.partition("==")[2])] if model == "v1" else []
            with open_worker(system, environment=environment) as worker:
                recording = recorded(
                    system,
                    played_live(worker),
                    drawn,
                    python=worker.python,
                    rivals=rivals,
                    most_runs=60,
                    longest_run=LONGEST_RUN[model],
                )
            path = RECORDINGS / f"{system.replace('==', '-')}.json"
            write_recording(recording, path)
            say(f"{path.name}: {len(recording.runs)} runs, {path.stat().st_size} bytes\n")


def score(say):
    """Tell after how many workloads each mutation is caught."""
    for it in MUTATIONS:
        numbers = [caught_after(it, runs(it[0])) for runs in (served, on_record)]
        say(f"{it} {numbers}\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        record(sys.argv[1], sys.stdout.write, only=sys.argv[2:])
    score(sys.stdout.write)
