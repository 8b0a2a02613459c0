"""Where a closed system settles."""

from dataclasses import dataclass
from typing import Self, final

from queueing_llm.closed._crowd import crowd_of
from queueing_llm.evidence import Evidence
from queueing_llm.model import Workload

KEPT = (
    "time_to_first_token",
    "prefill_tokens",
    "decode_tokens",
    "kv_tokens",
    "step_seconds",
    "utilisation",
    "evidence",
    "basis",
    "measured_error",
)
"""What moving the throughput leaves as it is."""


@final
@dataclass(frozen=True, slots=True)
class OperatingPoint:
    r"""Long-run means of a closed system.

    Parameters
    ----------
    throughput : float
        :math:`X` [requests/s].
    response_time : float
        :math:`R = N / X - Z` [s], mean time from a request to its last token.
    time_to_first_token : float
        Mean time from a request to its first token [s].
    time_per_output_token : float
        Mean time from the first token to the last, over the mean number of tokens after the
        first [s]; 0 if there are none.
    prefill_tokens, decode_tokens, kv_tokens : float
        Mean prefill tokens, decodes and KV tokens read in a step [tokens].
    step_seconds : float
        Mean length of a step [s].
    utilisation : float
        Share of time that a step runs [1].
    evidence : Evidence
        How it is known.
    basis : str
        The argument in a sentence.
    measured_error : float
        Relative error of the throughput that 19 of 20 random systems of this kind stayed
        within, against simulation [1]; 0 for an exact cycle; of a run, how its halves differ.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> from queueing_llm.closed import closed_loop
    >>> engine = ql.Engine(step_time=ql.AffineStepTime(1, 1), token_budget=8)
    >>> load = ql.Workload.closed(1, prompt_tokens=3, output_tokens=2)
    >>> point = closed_loop(engine, load, policy=ql.SARATHI).operating_point
    >>> point.response_time, point.time_to_first_token, point.time_per_output_token
    (8.0, 6.0, 2.0)
    """

    throughput: float
    response_time: float
    time_to_first_token: float
    time_per_output_token: float
    prefill_tokens: float
    decode_tokens: float
    kv_tokens: float
    step_seconds: float
    utilisation: float
    evidence: Evidence
    basis: str
    measured_error: float

    @classmethod
    def of(
        cls,
        workload: Workload,
        *,
        throughput: float,
        time_to_first_token: float,
        prefill_tokens: float,
        decode_tokens: float,
        kv_tokens: float,
        step_seconds: float,
        utilisation: float,
        evidence: Evidence,
        basis: str,
        measured_error: float,
    ) -> Self:
        """Return the operating point of a throughput, with the latencies that it implies.

        Parameters
        ----------
        workload : Workload
            The closed workload.
        throughput, time_to_first_token : float
            As for the class; no first token comes after the last.
        prefill_tokens, decode_tokens, kv_tokens, step_seconds, utilisation : float
            As for the class.
        evidence, basis, measured_error
            As for the class.
        """
        crowd = crowd_of(workload)
        response = crowd.users / throughput - float(crowd.think_time)
        first = min(time_to_first_token, response)
        after = float(workload.mean_output_tokens) - 1
        return cls(
            throughput=throughput,
            response_time=response,
            time_to_first_token=first,
            time_per_output_token=(response - first) / after if after > 0 else 0.0,
            prefill_tokens=prefill_tokens,
            decode_tokens=decode_tokens,
            kv_tokens=kv_tokens,
            step_seconds=step_seconds,
            utilisation=utilisation,
            evidence=evidence,
            basis=basis,
            measured_error=measured_error,
        )

    def within(self, workload: Workload, *, low: float, high: float) -> "OperatingPoint":
        """Return the point with its throughput moved into an interval, if it is outside.

        Parameters
        ----------
        workload : Workload
            The closed workload.
        low, high : float
            The interval [requests/s].
        """
        throughput = min(max(self.throughput, low), high)
        if throughput == self.throughput:
            return self
        fields = {name: getattr(self, name) for name in KEPT}
        return OperatingPoint.of(workload, throughput=throughput, **fields)
