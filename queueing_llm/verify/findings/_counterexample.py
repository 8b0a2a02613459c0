"""What breaks a contract, as something to look at and to run."""

from dataclasses import dataclass
from typing import final

from queueing_llm.model import Engine
from queueing_llm.policies import EngineState
from queueing_llm.verify.plays._books import COLUMNS, LIMITS
from queueing_llm.verify.plays._decision import Decision, Play
from queueing_llm.verify.plays._trial import Arrival, Trial


@final
@dataclass(frozen=True, slots=True, eq=False)
class Counterexample:
    """Requests that lead an engine to the decision that breaks a contract.

    Parameters
    ----------
    played : Play
        The play up to and including that decision.
    sentence : str
        What is wrong, with numbers.
    """

    played: Play
    sentence: str

    @property
    def trial(self) -> Trial:
        """The engine and the requests."""
        return self.played.trial

    @property
    def decision(self) -> Decision:
        """The decision that breaks the contract."""
        return self.played.decisions[-1]

    @property
    def state(self) -> EngineState:
        """The state that the policy was asked about."""
        return self.decision.state

    def snippet(self, policy: str = "policy") -> str:
        """Return Python code that leads the policy of that name to the decision.

        Then it asks the policy about that very state. A state that was found by enumeration
        comes without the way to it, and a scheduler of the field cannot be asked about one:
        there the name stands for the :class:`~queueing_llm.policies.field.FieldSystem`.
        """
        engine = self.trial.engine
        limits = [f"{name}={getattr(engine, name)}" for name in _set_limits(engine)]
        if engine.first_token_from_prefill:
            limits.append("first_token_from_prefill=True")
        arrivals = ", ".join(_written(arrival) for arrival in self.trial.arrivals)
        columns = [f"    {name}=np.array({_entries(self.state, name)})," for name in COLUMNS]
        columns += [f"    {name}={getattr(engine, name)}," for name in _set_limits(engine)]
        way = [
            "from queueing_llm.verify import Arrival, Trial, play",
            "",
            f"engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), {', '.join(limits)})",
            "# Arrival(step, prompt_tokens, output_tokens, class_index=0)",
            f"played = play({policy}, Trial(engine, ({arrivals},)))",
            f"decision = played.decisions[{len(self.played.decisions) - 1}]",
        ]
        wrong = " ".join(self.sentence.split())  # an exception may have said it in lines
        if self.played.remembers:
            shown = f"decision.batch, decision.finished  # {wrong}"
            return "\n".join(["import queueing_llm as ql", *way, shown])
        lines = [
            "import numpy as np",
            "import queueing_llm as ql",
            *(way if arrivals else []),
            "",
            "state = ql.EngineState(",
            *columns,
            ")",
            f"answer = {policy}(state)  # {wrong}",
        ]
        return "\n".join(lines)

    def timeline(self) -> str:
        """Return the batches as a picture: one row per request, one column per step.

        ``p3`` stands for three prompt tokens, ``d`` for a decode token, ``.`` for nothing
        and ``x`` for a preemption.

        Examples
        --------
        >>> import queueing_llm as ql
        >>> from queueing_llm.verify import check_policy
        >>> report = check_policy(ql.VANILLA_VLLM, contracts=["oldest_first"])
        >>> print(report.findings[0].counterexample.timeline())
        step         0   1
        request 0    p1  .
        request 1    .   p1
        batch/budget 1/1 1/1
        """
        decisions = self.played.decisions
        requests = sorted({int(n) for d in decisions for n in d.state.request})
        table = [["step", *(str(d.step) for d in decisions)]]
        table += [[f"request {n}", *(_mark(d, n) for d in decisions)] for n in requests]
        table.append(["batch/budget", *(_filled(d) for d in decisions)])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            " ".join(
                cell.ljust(width) for cell, width in zip(row, widths, strict=True)
            ).rstrip()
            for row in table
        )


def _set_limits(engine: Engine) -> list[str]:
    """Return the limits that are not what they are by default."""
    plain = {"max_batch_size": None, "kv_capacity": None, "kv_block_size": 1}
    return [name for name in LIMITS if getattr(engine, name) != plain.get(name)]


def _written(arrival: Arrival) -> str:
    values = [arrival.step, arrival.prompt_tokens, arrival.output_tokens]
    values += [arrival.class_index] if arrival.class_index else []
    return f"Arrival({', '.join(map(str, values))})"


def _entries(state: EngineState, name: str) -> list[int]:
    entries: list[int] = getattr(state, name).tolist()
    return entries


def _filled(decision: Decision) -> str:
    total = "?" if decision.batch is None else str(int(decision.batch.tokens.sum()))
    return f"{total}/{decision.state.token_budget}"


def _mark(decision: Decision, number: int) -> str:
    """Return what a request gets in a step; nothing if it is not there."""
    numbers = decision.state.request.tolist()
    if number not in numbers:
        return ""
    i = numbers.index(number)
    if decision.batch is None:
        return "?"
    if decision.batch.preempted is not None and decision.batch.preempted[i]:
        return "x"
    tokens = int(decision.batch.tokens[i])
    if tokens == 0:
        return "."
    if decision.state.prompt_left[i] > 0:
        return f"p{tokens}"
    return "d" if tokens == 1 else f"d{tokens}"
