"""Every system of the field by its name: a version, and settings after a colon."""

from collections.abc import Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies.field import _system_builds as builds
from queueing_llm.policies.field._system import Build, FieldSystem
from queueing_llm.policies.field._vllm_v1_config import VLLM_V1_RELEASES

AS_READ = "as read, not driven"
MENDED = "as the system, less its known defects: no recording shows it"


def _repeats(runs: int, *, of: str) -> str:
    """Return that recorded runs are repeated, of which tests count as many."""
    noun = "run" if runs == 1 else "runs"
    return f"{runs} recorded {noun} of {of}, repeated step for step"


def _vllm() -> Iterator[FieldSystem]:
    for version in VLLM_V1_RELEASES:
        name, build = f"vllm=={version}", partial(builds.vllm_v1, version=version)
        set_up = partial(builds.vllm_v1_config, version=version)
        chosen: tuple[tuple[str, dict[str, Any], int], ...] = (
            ("", {}, 45),
            (":long-prefill", {"caps_long_prompts": True}, 16),
            (":priority", {"policy": "priority"}, 18),
            (":whole-prompts", {"whole_prompts": True}, 19),
        )
        for setting, others, runs in chosen:
            known_by = _repeats(runs, of=f"vLLM {version}")
            made = partial(build, **others)
            started = partial(set_up, **others)
            yield FieldSystem(
                name + setting, made, known_by, started, reads_priority="policy" in others
            )
    name = "vllm==0.6.3"
    for setting, chunked, runs in (("", False, 56), (":chunked", True, 64)):
        known_by = _repeats(runs, of="vLLM 0.6.3")
        made = partial(builds.vllm_v0, chunked=chunked)
        settings = partial(builds.vllm_v0_config, chunked=chunked)
        yield FieldSystem(name + setting, made, known_by, settings)
    whole = partial(builds.vllm_v1, version="0.11.2", whole_prompts=True)
    yield _mended("vllm==0.11.2:whole-prompts", partial(whole, with_defects=False))


def _sglang() -> Iterator[FieldSystem]:
    name = "sglang==0.5.6"
    for setting, mixed, runs in (("", False, 75), (":mixed", True, 105)):
        build = partial(builds.sglang, mixed=mixed)
        settings = partial(builds.sglang_config, mixed=mixed)
        yield FieldSystem(name + setting, build, _repeats(runs, of="SGLang 0.5.6"), settings)
        yield _mended(name + setting, partial(build, with_defects=False))


def _sarathi_serve() -> Iterator[FieldSystem]:
    of = "microsoft/sarathi-serve at 96f9911"
    for setting, policy, runs, can_be_mended in (
        ("", "sarathi", 56, True),
        (":vllm", "vllm", 35, True),
        (":orca", "orca", 32, False),
        (":faster-transformer", "faster_transformer", 37, False),
        (":simple-chunking", "simple_chunking", 1, True),
    ):
        name, build = f"sarathi-serve{setting}", partial(builds.sarathi_serve, policy=policy)
        yield FieldSystem(name, build, _repeats(runs, of=of))
        if can_be_mended:
            yield _mended(name, partial(build, with_defects=False))


def _vidur() -> Iterator[FieldSystem]:
    of = "microsoft/vidur at 7d47513"
    for policy, runs, can_be_mended in (
        ("sarathi", 42, True),
        ("vllm", 46, False),
        ("orca", 37, False),
        ("faster_transformer", 35, True),
    ):
        name = f"vidur:{policy.replace('_', '-')}"
        build = partial(builds.vidur, policy=policy)
        yield FieldSystem(name, build, _repeats(runs, of=of))
        if can_be_mended:
            yield _mended(name, partial(build, with_defects=False))
    yield FieldSystem("vidur:lightllm", builds.vidur_lightllm, _repeats(1, of=of))


def _read() -> Iterator[FieldSystem]:
    build = builds.tensorrt_llm
    for setting, made in (
        ("", partial(build)),
        (":chunked", partial(build, chunking="first_come_first_served")),
        (":equal-progress", partial(build, chunking="equal_progress")),
        (":max-utilization", partial(build, capacity="max_utilization")),
        (":static-batch", partial(build, capacity="static_batch")),
    ):
        yield FieldSystem(f"tensorrt-llm{setting}", made, AS_READ)
    yield FieldSystem("tgi==3", builds.tgi, AS_READ)
    yield FieldSystem("static-batching", builds.faster_transformer, AS_READ)
    yield FieldSystem(
        "static-batching:drop",
        partial(builds.faster_transformer, finished_rows="drop"),
        _repeats(37, of="Sarathi-Serve's FasterTransformer"),
    )
    yield FieldSystem("orca==osdi22", builds.orca, AS_READ)


def _mended(name: str, build: Build) -> FieldSystem:
    return FieldSystem(f"{name}{',' if ':' in name else ':'}mended", build, MENDED)


SYSTEMS: Mapping[str, FieldSystem] = MappingProxyType(
    {
        system.name: system
        for family in (_vllm, _sglang, _sarathi_serve, _vidur, _read)
        for system in family()
    }
)
"""Every system by its name."""


def system_named(name: str) -> FieldSystem:
    """Return the system of the field of that name, in any case.

    Parameters
    ----------
    name : str
        A key of :data:`SYSTEMS`, such as ``"vllm==0.33.0"`` or, with settings after a colon,
        ``"sarathi-serve:vllm"``. ``mended`` leaves known defects out.

    Returns
    -------
    FieldSystem
        What makes its schedulers, and how they are known to decide as the system does.

    Raises
    ------
    InvalidArgument
        If there is no such system; the nearest name is suggested.

    Examples
    --------
    >>> from queueing_llm.policies.field import FieldRequest, Limits
    >>> limits = Limits(64, 2, None, 16, requests=2, tokens=120)
    >>> engine = system_named("vLLM==0.33.0").build(limits)
    >>> engine.add(FieldRequest("a", prompt_tokens=100, output_tokens=2))
    >>> engine.add(FieldRequest("b", prompt_tokens=10, output_tokens=1))
    >>> [dict(engine.step().tokens) for _ in range(3)]
    [{'a': 64}, {'a': 36, 'b': 10}, {'a': 1}]
    """
    word = name.strip().lower().replace("_", "-")
    if word not in SYSTEMS:
        msg = f"there is no system {name!r}: {nearest(word, SYSTEMS)}."
        raise InvalidArgument(msg)
    return SYSTEMS[word]
