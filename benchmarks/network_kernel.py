"""How fast the compiled network is.

``python benchmarks/network_kernel.py [--quick]`` prints engine steps and requests per second of
processor time on one core, everything included: drawing random numbers, arrivals, running. The
first run, which compiles, is left out; the number shown is the median of the runs after it. The
share of the kernel itself comes from a profile of one more run.
"""

import argparse
import cProfile
import pstats
import statistics
import time
from dataclasses import dataclass
from fractions import Fraction

import queueing_llm as ql
from queueing_llm.model import (
    AbstractLength,
    DeterministicLength,
    Engine,
    GeometricLength,
    IndependentLengths,
    PoissonArrivals,
    PoissonLength,
)
from queueing_llm.model.agents import AgentNetwork, Move, NetworkEngine, Visit
from queueing_llm.simulate.networks import NetworkRun, simulate_network

AIM = "aim, one core, warm, outputs off: >= 5 M engine steps/s over all engines"
LOAD = Fraction(9, 10)


@dataclass(frozen=True, slots=True)
class Case:
    """A network and how long to simulate it."""

    name: str
    network: AgentNetwork
    horizon: float


def ring(
    count: int, engine: Engine, *, hops: int, lengths: list[IndependentLengths]
) -> AgentNetwork:
    """Return engines in a ring, each with load ``LOAD`` at full batches.

    Sessions enter at every engine and make ``hops`` hops, hop ``h`` with ``lengths[h]``;
    earlier hops are served first.
    """
    work = sum(law.moments.prompt + law.moments.output for law in lengths)
    full = engine.token_budget / Fraction(float(engine.step_time(engine.token_budget, 0, 0)))
    rate = float(LOAD * full / work)
    visits, moves = [], []
    for first in range(count):
        for h in range(hops):
            if h:
                moves.append(Move(len(visits) - 1, len(visits)))
            visits.append(
                Visit(
                    f"{first}:{h}",
                    f"{first}:{h}",
                    f"class {first}",
                    ((first + h) % count,),
                    lengths[h],
                    None if h else PoissonArrivals(rate),
                    priority=h,
                )
            )
    engines = tuple(NetworkEngine(f"engine {i}", engine) for i in range(count))
    return AgentNetwork.of(engines, tuple(visits), tuple(moves))


def pair(law: type[AbstractLength]) -> AgentNetwork:
    """Return the cyclic pair of section 5.4 of arXiv:2504.07347 with stabilising priorities."""
    engine = Engine(step_time=ql.AffineStepTime(base=1, per_token=0), token_budget=768)
    short, long = (
        IndependentLengths(law(prompt), law(32))  # type: ignore[call-arg]
        for prompt in (32, 512)
    )
    return ring(2, engine, hops=2, lengths=[short, long])


def cases() -> list[Case]:
    """Return what is timed."""
    step = ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128)
    engine = Engine(step_time=step, token_budget=512)
    hop = IndependentLengths(GeometricLength(129), GeometricLength(112))
    return [
        Case("cyclic pair, Poisson lengths", pair(PoissonLength), 400_000),
        Case("cyclic pair, constant lengths", pair(DeterministicLength), 400_000),
        Case("30 engines, 3 hops", ring(30, engine, hops=3, lengths=[hop] * 3), 6_000),
        Case("200 engines, 3 hops", ring(200, engine, hops=3, lengths=[hop] * 3), 1_000),
    ]


def simulated(case: Case, share: float) -> NetworkRun:
    """Simulate a share of the horizon."""
    return simulate_network(case.network, horizon=case.horizon * share, samples=50)


def report(case: Case, *, quick: bool) -> str:
    """Return the line for one case."""
    runs, share = (1, 0.1) if quick else (5, 1.0)
    simulated(case, 0.01)
    steps, requests = [], []
    for _ in range(runs):
        begin = time.process_time()
        run = simulated(case, share)
        seconds = time.process_time() - begin
        steps.append(run.steps / seconds)
        requests.append(run.outcomes[0].visits[-1, :, 2].sum() / seconds)
    profile = cProfile.Profile(time.process_time)
    run = profile.runcall(simulated, case, share)
    inside = sum(
        entry[2]
        for (file, _, name), entry in pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
        if name == "run" and file.endswith("networks/_kernel.py")
    )
    return (
        f"{case.name:30} {statistics.median(steps) / 1e6:6.2f} M steps/s  "
        f"{statistics.median(requests) / 1e6:6.2f} M requests/s  "
        f"(kernel alone {run.steps / inside / 1e6:6.2f} M steps/s)"
    )


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, once")
    options = parser.parse_args()
    for case in cases():
        print(report(case, quick=options.quick), flush=True)
    print(AIM)


if __name__ == "__main__":
    main()
