"""Which fluid model a network of engines has, and what must be true for that."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from queueing_llm.evidence import Hypothesis
from queueing_llm.model.agents import AgentNetwork, NetworkEngine
from queueing_llm.networks import FluidClasses, Unmodelled, multiclass
from queueing_llm.policies import BatchRule


@final
@dataclass(frozen=True, slots=True)
class FluidReading:
    """A network of engines read as a multiclass queueing network.

    Parameters
    ----------
    classes : FluidClasses
        A request is one job.
    phases : FluidClasses or None
        Prefill and decode of a request are jobs of their own: every work-conserving rule is
        a non-idling policy of this network, whatever it serves first. None if they are too
        many classes.
    keeps_order : bool
        Whether every engine finishes requests in the order in which they start, up to a
        bounded number.
    is_fifo : bool
        Whether, moreover, every engine starts requests in the order in which they come.
    reads_kv : bool
        Whether the steps of some engine take longer the more KV tokens they read.
    hypotheses : tuple of Hypothesis
        What makes this reading right.
    """

    classes: FluidClasses
    phases: FluidClasses | None
    keeps_order: bool
    is_fifo: bool
    reads_kv: bool
    hypotheses: tuple[Hypothesis, ...]

    @property
    def holds(self) -> bool:
        """Whether every hypothesis holds."""
        return all(hypothesis.holds for hypothesis in self.hypotheses)

    @property
    def own(self) -> FluidClasses | None:
        """The network whose non-idling policies include that of the engines."""
        return self.classes if self.keeps_order else self.phases


def fluid_reading(network: AgentNetwork) -> FluidReading | Unmodelled:
    """Return the multiclass network of a network of engines, and the checks of that reading."""
    classes = multiclass(network)
    if isinstance(classes, Unmodelled):
        return classes
    phases = multiclass(network, split_phases=True)
    return FluidReading(
        classes=classes,
        phases=phases if isinstance(phases, FluidClasses) else None,
        keeps_order=all(_starts_decide(engine) for engine in network.engines),
        is_fifo=all(_is_fifo(network, at) for at in range(len(network.engines))),
        reads_kv=any(named.engine.step_time.kv_slope != 0 for named in network.engines),
        hypotheses=(*_hypotheses(network), _contexts(classes)),
    )


def _starts_decide(engine: NetworkEngine) -> bool:
    return isinstance(engine.policy, BatchRule) and engine.policy.first == "decode"


def _is_fifo(network: AgentNetwork, engine: int) -> bool:
    ranks = {visit.priority for visit in network.visits if engine in visit.engines}
    return len(ranks) <= 1 and _starts_decide(network.engines[engine])


def _hypotheses(network: AgentNetwork) -> Iterator[Hypothesis]:
    """Yield the checks that a backlog is served at full batches, and that averages hold."""
    lazy = [
        e.name
        for e in network.engines
        if not (isinstance(e.policy, BatchRule) and e.policy.is_work_conserving)
    ]
    yield Hypothesis(
        name="every engine is work-conserving",
        holds=not lazy,
        how=f"not known of {_listed(lazy)}" if lazy else "mixed and chunked rules only",
    )
    limited = [
        e.name
        for e in network.engines
        if e.engine.max_batch_size is not None or e.engine.kv_capacity is not None
    ]
    yield Hypothesis(
        name="nothing but the token budget limits a batch",
        holds=not limited,
        how=f"batch-size or KV limit at {_listed(limited)}" if limited else "no other limit",
    )
    uneven = [
        visit.name
        for visit in network.visits
        if (visit.arrivals is not None and not visit.arrivals.is_renewal)
        or (visit.lengths is not None and not visit.lengths.is_iid)
    ]
    yield Hypothesis(
        name="gaps between arrivals, and lengths, are i.i.d.",
        holds=not uneven,
        how=f"not at {_listed(uneven)}" if uneven else "renewal arrivals, i.i.d. lengths",
    )


def _contexts(classes: FluidClasses) -> Hypothesis:
    return Hypothesis(
        name="requests of a class are alike whatever came before them",
        holds=not classes.averages,
        how=f"mean contexts differ at {_listed(classes.averages)}"
        if classes.averages
        else "each has one mean context",
    )


def _listed(names: list[str] | tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
