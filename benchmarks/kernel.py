"""How fast the compiled engine is, and how much memory a request takes.

``python benchmarks/kernel.py [--quick]`` prints, for Sarathi on one core, engine steps and
completed requests per second of processor time, everything included: drawing the arrivals,
loading them, running the engine. The first run, which compiles, is left out; the number
shown is the median of the runs after it.
"""

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import queueing_llm as ql

LOADS = (0.7, 0.95, 1.2)
AIMS = """
aims, one core, warm: >= 40 M steps/s at load 0.7; >= 10 M requests/s with outputs off and
>= 3 M requests/s with outputs on; at load 1.2 >= 0.5 of the requests/s at load 0.7;
< 120 bytes a request with outputs on
"""


@dataclass(frozen=True, slots=True)
class Case:
    """An engine and the lengths of its requests."""

    name: str
    engine: ql.Engine
    prompt_tokens: int | ql.GeometricLength
    output_tokens: int | ql.GeometricLength

    def workload(self, load: float) -> ql.Workload:
        """Return Poisson arrivals at ``load`` times the capacity."""
        unit = ql.Workload.poisson(
            1.0, prompt_tokens=self.prompt_tokens, output_tokens=self.output_tokens
        )
        return unit.scale_to(load * float(ql.capacity(self.engine, unit).requests_per_second))


CASES = (
    Case(
        "geometric",
        ql.Engine(
            step_time=ql.HingeStepTime(floor=0.0455, per_token=0.0003, knee=64),
            token_budget=512,
        ),
        ql.GeometricLength(512),
        ql.GeometricLength(256),
    ),
    Case(
        "published",
        ql.Engine(
            step_time=ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128),
            token_budget=512,
        ),
        129,
        112,
    ),
)


@dataclass(frozen=True, slots=True)
class Speed:
    """Medians over runs."""

    steps: float
    """Engine steps per second."""
    requests: float
    """Completed requests per second."""


def simulated(
    case: Case, load: float, *, requests: int, outputs: bool, slow: bool = False
) -> ql.Run:
    """Simulate about ``requests`` arrivals."""
    workload = case.workload(load)
    return ql.simulate(
        case.engine,
        workload,
        policy=ql.SARATHI,
        horizon=requests / float(workload.arrival_rate),
        keep_requests=outputs,
        transparent=slow,
    )


def measured(
    case: Case, load: float, *, requests: int, outputs: bool, runs: int, slow: bool = False
) -> Speed:
    """Run once to warm up and then ``runs`` times."""
    simulated(case, load, requests=requests // 10, outputs=outputs, slow=slow)
    steps, completed = [], []
    for _ in range(runs):
        begin = time.process_time()
        run = simulated(case, load, requests=requests, outputs=outputs, slow=slow)
        seconds = time.process_time() - begin
        steps.append(run.steps / seconds)
        completed.append((run.arrived - run.requests_in_system[0, -1]) / seconds)
    return Speed(statistics.median(steps), statistics.median(completed))


def bytes_per_request(case: Case, requests: int) -> float:
    """Return the peak of everything allocated during a run with outputs, per request.

    Counted by ``tracemalloc``, which sees NumPy's buffers; the kernel allocates nothing.
    """
    simulated(case, 0.7, requests=1000, outputs=True)
    tracemalloc.start()
    run = simulated(case, 0.7, requests=requests, outputs=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / run.arrived


def report(case: Case, *, quick: bool) -> Iterator[str]:
    """Yield the lines for one case."""
    runs, share = (1, 10) if quick else (5, 1)
    for outputs, requests in ((False, 4_000_000), (True, 1_500_000)):
        speeds = {}
        for load in LOADS:
            speeds[load] = speed = measured(
                case, load, requests=requests // share, outputs=outputs, runs=runs
            )
            yield (
                f"{case.name:10} outputs {'on' if outputs else 'off':3}  load {load:4}  "
                f"{speed.steps / 1e6:7.1f} M steps/s  {speed.requests / 1e6:6.2f} M requests/s"
            )
        ratio = speeds[1.2].requests / speeds[0.7].requests
        yield f"{case.name:10} requests/s at load 1.2 over those at 0.7: {ratio:.2f}"
    memory = bytes_per_request(case, 1_500_000 // share)
    yield f"{case.name:10} peak memory with outputs on: {memory:.0f} bytes a request"
    slow = measured(case, 0.7, requests=400, outputs=True, runs=1, slow=True)
    yield f"{case.name:10} transparent driver, for scale: {slow.steps:,.0f} steps/s"


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests, once")
    options = parser.parse_args()
    for case in CASES:
        for line in report(case, quick=options.quick):
            print(line, flush=True)
    print(AIMS)


if __name__ == "__main__":
    main()
