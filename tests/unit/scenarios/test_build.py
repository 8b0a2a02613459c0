"""Tables become the engine and the workload that they describe."""

import tomllib
from dataclasses import fields
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import (
    BatchArrivals,
    DeterministicArrivals,
    DeterministicLength,
    Engine,
    GammaArrivals,
    GeometricLength,
    OnOffArrivals,
    PoissonArrivals,
    RequestClass,
)
from queueing_llm.scenarios import exact_number
from queueing_llm.scenarios._build import engine_of, workload_of
from queueing_llm.scenarios._schema import ClassTable, EngineTable, WorkloadTable
from queueing_llm.steptime import RooflineStepTime, TableStepTime

LENGTHS = "prompt_tokens = 129\noutput_tokens = 112\n"


def workload(text):
    table = tomllib.loads(text, parse_float=exact_number)
    return workload_of(WorkloadTable.model_validate(table), folder=None).workload


def engine(text):
    return engine_of(EngineTable.model_validate(tomllib.loads(text, parse_float=exact_number)))


def test_the_tables_have_the_fields_of_the_model():
    assert set(EngineTable.model_fields) == {f.name for f in fields(Engine)}
    lengths = {"prompt_tokens", "output_tokens"}
    assert (
        set(ClassTable.model_fields)
        == {f.name for f in fields(RequestClass)} - {"lengths"} | lengths
    )


def test_every_limit_of_an_engine_can_be_given():
    built = engine(
        "token_budget = 512\nmax_batch_size = 9\nkv_capacity = 7\n"
        "first_token_from_prefill = true\n"
        "step_time = {law = 'affine', base = 0.01, per_token = 1e-4, per_kv_token = 1e-7}"
    )
    limits = (built.token_budget, built.max_batch_size, built.kv_capacity)
    assert limits == (512, 9, 7)
    assert built.first_token_from_prefill is True
    assert built.step_time(100) == Fraction(1, 50)


def test_constructors_other_than_the_class_are_laws_too():
    table = engine(
        "token_budget = 256\n"
        "[step_time]\nlaw = 'table'\ntokens = [128, 256]\nseconds = [0.1, 0.2]\n"
        "between = 'next'"
    )
    assert isinstance(table.step_time, TableStepTime)
    assert table.step_time(129) == Fraction(1, 5)
    hardware = engine(
        "token_budget = 256\n[step_time]\nlaw = 'hardware'\nweight_bytes = 14e9\n"
        "memory_bandwidth = 2e12\nflops_per_token = 14e9\npeak_flops = 312e12"
    )
    assert isinstance(hardware.step_time, RooflineStepTime)
    assert hardware.step_time(1) == Fraction(7, 1000)


@pytest.mark.parametrize(
    ("arrivals", "expected"),
    [
        ("", PoissonArrivals(Fraction(52, 5))),
        ("process = 'poisson'", PoissonArrivals(Fraction(52, 5))),
        ("process = 'deterministic'", DeterministicArrivals(Fraction(52, 5))),
        ("process = 'gamma'\nscv = 4", GammaArrivals(Fraction(52, 5), scv=4)),
    ],
)
def test_processes_with_a_rate_take_that_of_the_workload(arrivals, expected):
    section = f"[arrivals]\n{arrivals}" if arrivals else ""
    assert workload(f"arrival_rate = 10.4\n{LENGTHS}{section}").arrivals == expected


def test_evenly_spaced_arrivals_can_be_given_by_their_interval():
    built = workload(f"{LENGTHS}[arrivals]\nprocess = 'deterministic'\ninterval = 0.4675")
    assert built.arrival_rate == Fraction(400, 187)


@given(rate=st.none() | st.fractions(Fraction(1, 100), 100))
def test_processes_with_a_rate_of_their_own_are_stretched_to_the_one_asked_for(rate):
    table = {
        "prompt_tokens": 1,
        "output_tokens": 1,
        "arrival_rate": rate,
        "arrivals": {
            "process": "on_off",
            "rate_on": 10,
            "rate_off": 1,
            "mean_on": 2,
            "mean_off": 4,
        },
    }
    built = workload_of(WorkloadTable.model_validate(table), folder=None).workload
    assert isinstance(built.arrivals, OnOffArrivals)
    assert built.arrival_rate == (4 if rate is None else rate)


@given(rate=st.fractions(Fraction(1, 100), 100), high=st.integers(1, 20))
def test_the_rate_of_batches_is_that_of_their_requests(rate, high):
    size = {"law": "uniform", "low": 1, "high": high}
    table = {
        "prompt_tokens": 1,
        "output_tokens": 1,
        "arrival_rate": rate,
        "arrivals": {"process": "batch", "size": size},
    }
    built = workload_of(WorkloadTable.model_validate(table), folder=None).workload
    assert isinstance(built.arrivals, BatchArrivals)
    assert isinstance(built.arrivals.batches, PoissonArrivals)
    assert built.arrival_rate == rate


def test_classes_have_their_own_laws_and_shares():
    built = workload(
        "arrival_rate = 1\n"
        "[[classes]]\nname = 'chat'\nshare = 3\nprompt_tokens = 100\n"
        "output_tokens = {law = 'geometric', mean = 50}\n"
        "[[classes]]\nname = 'code'\nprompt_tokens = 500\noutput_tokens = 10\n"
    )
    assert built.shares == (Fraction(3, 4), Fraction(1, 4))
    assert built.mean_prompt_tokens == 200
    assert built.classes[0].lengths.output == GeometricLength(50)
    assert built.classes[1].lengths.output == DeterministicLength(10)


def test_scale_multiplies_the_rate():
    assert workload(f"arrival_rate = 2\nscale = 1.5\n{LENGTHS}").arrival_rate == 3
    preset = workload("trace = 'azure-conv-2023'\narrival_rate = 2\nscale = 3")
    assert float(preset.arrival_rate) == pytest.approx(6, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LENGTHS, "needs the key 'arrival_rate'"),
        (f"arrival_rate = -1.5\n{LENGTHS}", "workload.arrival_rate must be .* above 0"),
        (f"arrival_rate = nan\n{LENGTHS}", "arrival_rate=nan"),
        ("arrival_rate = 1\noutput_tokens = 1", "needs the key 'prompt_tokens'"),
        ("arrival_rate = 1\nprompt_tokens = 0\noutput_tokens = 1", "at least 1 .*=0"),
        ("arrival_rate = 1\nprompt_tokens = 1.5\noutput_tokens = 1", "prompt_tokens must be"),
        (f"arrival_rate = 1\nscale = 0\n{LENGTHS}", "scale must be .* above 0, got scale="),
        (f"trace = 'azure-conv-2023'\n{LENGTHS}", "both 'trace' and 'prompt_tokens'"),
        (f"arrival_rate = 1\nskip_bad_rows = true\n{LENGTHS}", "trace is missing"),
        (f"arrival_rate = 1\ntrace_format = 'azure'\n{LENGTHS}", "trace is missing"),
        (f"arrival_rate = 1\nclasses = []\n{LENGTHS}", "both 'classes' and 'prompt_tokens'"),
        ("arrival_rate = 1\nclasses = []", "classes must be a non-empty list"),
        (
            f"arrival_rate = 1\n{LENGTHS}[arrivals]\nprocess = 'poisson'\nrate = 2",
            "no key 'rate'",
        ),
        (f"arrival_rate = 1\n{LENGTHS}[arrivals]\nprocess = 'batch'", "needs the key 'size'"),
    ],
)
def test_a_workload_that_says_too_little_or_too_much_is_refused(text, words):
    with pytest.raises(InvalidArgument, match=words):
        workload(text)
