"""Engines, workloads and numbers in words."""

import math
import re
from dataclasses import fields

from queueing_llm._validate import Real, domains
from queueing_llm.evidence import CriticalRate
from queueing_llm.model import (
    AbstractRequestLengths,
    EmpiricalLengths,
    Engine,
    IndependentLengths,
    Workload,
)
from queueing_llm.steptime import AbstractStepTime

UNKNOWN = "unknown"


def brief(value: Real | None) -> str:
    """Return a number with five significant digits."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{float(value):,.5g}"


def error_text(value: float | None) -> str:
    """Return a standard error with two significant digits, never in powers of ten if large."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.2g}" if value < 10 else f"{float(f'{value:.1e}'):,.0f}"


def rate_text(value: Real | None) -> str:
    """Return a rate with five significant digits, zeros included, as in a column."""
    return UNKNOWN if value is None else "0" if value == 0 else f"{float(value):#.5g}"


def percent(value: Real | None) -> str:
    """Return a share in percent with about three significant digits."""
    if value is None:
        return UNKNOWN
    share = float(value)
    if abs(share) < 10:
        return f"{share:z.1%}"
    return f"{share:.0%}" if abs(share) < 1e4 else f"{100 * share:.3g}%"


def rate_with_interval(critical: CriticalRate) -> str:
    """Return a critical rate, with its interval below it where it has one."""
    if critical.value is None or critical.low == critical.high:
        return rate_text(critical.value)
    return f"{rate_text(critical.value)}\n{_interval(critical.low, critical.high)}".rstrip()


def _interval(low: Real, high: Real) -> str:
    """Return the ends of an interval, or nothing if five digits do not part them."""
    for digits in (4, 5):
        ends = [f"{float(end):#.{digits}g}" for end in (low, high)]
        if ends[0] != ends[1]:
            return "–".join(ends)
    return ""


def engine_text(engine: Engine) -> str:
    """Return the step-time law and the limits of an engine."""
    limits = [f"token budget {engine.token_budget:,}"]
    if engine.max_batch_size is not None:
        limits.append(f"at most {engine.max_batch_size:,} requests")
    if engine.kv_capacity is not None:
        size = engine.kv_block_size
        blocks = f" in blocks of {size:,}" if size > 1 else ""
        limits.append(f"KV cache {engine.kv_capacity:,} tokens{blocks}")
    return f"{_law_text(engine.step_time)}; {', '.join(limits)}"


def workload_text(workload: Workload) -> str:
    """Return when requests arrive and how long they are."""
    kind = _words(type(workload.arrivals).__name__.removesuffix("Arrivals"))
    rate = f"{kind.capitalize()} arrivals, {brief(workload.arrival_rate)} requests/s"
    if len(workload.classes) == 1:
        return f"{rate}; {_lengths_text(workload.classes[0].lengths)}"
    parts = [
        f"{c.name} {percent(share)}: {_lengths_text(c.lengths)}"
        for c, share in zip(workload.classes, workload.shares, strict=True)
    ]
    return f"{rate}; " + "; ".join(parts)


def work_text(engine: Engine, workload: Workload) -> str:
    """Return the tokens of work in a request, and by which convention."""
    moments = workload.moments
    work = engine.work_tokens(moments.prompt, moments.output)
    if engine.first_token_from_prefill:
        rule = "p + d - 1: the last prompt chunk yields the first output token"
    else:
        rule = "p + d: each output token takes a decode step"
    return f"{brief(work)} tokens a request, {rule}"


def _lengths_text(lengths: AbstractRequestLengths) -> str:
    moments = lengths.moments
    means = f"{brief(moments.prompt)} prompt + {brief(moments.output)} output tokens"
    if isinstance(lengths, IndependentLengths):
        laws = [
            _words(type(law).__name__.removesuffix("Length"))
            for law in (lengths.prompt, lengths.output)
        ]
        kind = laws[0] if laws[0] == laws[1] else " + ".join(laws)
        return means if kind == "deterministic" else f"mean {means} ({kind})"
    if isinstance(lengths, EmpiricalLengths):
        how = "replayed in order" if lengths.in_order else "drawn at random"
        return f"mean {means} ({len(lengths.prompt_tokens):,} rows, {how})"
    return f"mean {means}"


def _law_text(law: AbstractStepTime) -> str:
    kind = _words(type(law).__name__.removesuffix("StepTime"))
    defaults = {field.name: field.default for field in fields(law)}  # type: ignore[arg-type]
    entries = [
        f"{name.replace('_', ' ')} {brief(getattr(law, name))} {domain.unit}"
        for name, domain in domains(type(law)).items()
        if getattr(law, name) != defaults[name]
    ]
    return ", ".join([f"{kind.capitalize()} step time", *entries])


def _words(camel: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", camel).lower()
