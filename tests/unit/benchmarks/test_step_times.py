"""The benchmark of the step-time laws runs, and compares like with like."""

import importlib.util
import sys
from pathlib import Path

import numpy as np

FILE = Path(__file__).parents[3] / "benchmarks" / "step_times.py"


def test_every_law_is_measured_against_the_copy_of_the_same_run():
    spec = importlib.util.spec_from_file_location("step_times", FILE)
    script = importlib.util.module_from_spec(spec)
    sys.modules["step_times"] = script
    spec.loader.exec_module(script)
    clock = iter(np.arange(0, 10_000, 0.5))
    waits = []
    library = script.Library("numpy", "cpu", np.asarray, np.copy, waits.append, None)
    script.time = type("Clock", (), {"perf_counter": staticmethod(lambda: float(next(clock)))})
    rows = list(script.shares(library, 1000))
    assert [name for name, *_ in rows] == list(script.laws())
    # Each call takes one half second by this clock, so a law moves 32 bytes as a copy moves 16.
    assert {(rate, share, fused) for _, rate, share, fused in rows} == {(2000.0, 2.0, None)}
    assert all(np.all(seconds > 0) for seconds in waits[7:])
