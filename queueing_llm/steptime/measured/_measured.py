"""Step times put together from measured times of the operators of a model."""

from dataclasses import dataclass, replace
from typing import Annotated, final

import numpy as np

from queueing_llm._ops import Number, is_false
from queueing_llm._validate import Domain, Real, Tokens, check, validate
from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime._kernel_form import KernelForm
from queueing_llm.steptime._law import AbstractStepTime, check_limits
from queueing_llm.steptime._table import TableStepTime
from queueing_llm.steptime.measured._engine import MeasuredKey, measured_engine
from queueing_llm.steptime.measured._grid import (
    SampledTable,
    TableLimits,
    sampled_table,
    with_host,
)
from queueing_llm.steptime.measured._host import on_the_host
from queueing_llm.steptime.measured._host_costs import HostCosts
from queueing_llm.steptime.measured._law import MeasuredLaw
from queueing_llm.steptime.measured._memory import (
    kv_bytes_per_token,
    kv_capacity,
    memory_facts,
    most_kv_tokens,
)
from queueing_llm.steptime.measured._names import known_model, known_precisions, known_version
from queueing_llm.steptime.measured._notes import notes

_MOST = 2**31 - 2
_MOST_IN_TABLE = 2**16
_MEAN_ERROR = 0.01
_AHEAD_UNASKED = (0, 14)
_NOT_QUANTISED = "bfloat16"

_Prompt = Annotated[int, Domain("p", "tokens", at_least=1, at_most=2**24, integer=True)]
_Count = Annotated[int, Domain("n", "tokens", at_least=1, at_most=_MOST_IN_TABLE, integer=True)]
_KV = Annotated[int, Domain("M", "tokens", at_least=1, at_most=_MOST, integer=True)]
_Error = Annotated[Real, Domain("epsilon", "1", above=0, at_most=1)]


@final
@dataclass(frozen=True, slots=True)
class MeasuredStepTime(AbstractStepTime):
    r"""The law that operator times measured on real GPUs add up to.

    .. math:: t(x, y, K) = S(x + y) + L(y + x / p) + A_p(x) + D(y, K / y).

    :math:`S` is all that is done to each token alone, :math:`L` the output projection of the
    tokens that are sampled from, :math:`A_p` the attention of prompts of :math:`p` tokens and
    :math:`D` that of :math:`y` decodes that read :math:`K / y` tokens each. The times are those
    of aiconfigurator-core (Apache-2.0), which holds measurements of vLLM, SGLang and
    TensorRT-LLM. What a step takes beside them is in ``host``; :meth:`with_fitted_host` fills
    it. :attr:`notes` says what is left out, smoothed or extrapolated.

    Parameters
    ----------
    model : str
        A name that the measurements describe (case, ``-Instruct`` and the like make no
        difference), or a folder with the ``config.json`` of a model. Nothing is downloaded.
    system : str
        The GPU, such as ``"h100_sxm"``.
    backend : {"vllm", "sglang", "trtllm"}
        The engine.
    tp : int
        GPUs that share each layer (tensor parallelism, experts included).
    prompt_tokens : int
        :math:`p` [tokens], for which prefill attention is averaged.
    version : str or None
        Version of the engine; None is the newest with a full set of measurements.
    gemm_precision, kv_precision, attention_precision : str or None
        Of matrix products, KV cache and prefill attention, such as ``"fp8"``, ``"fp8_block"``,
        ``"nvfp4"``; None is as the ``config.json`` says.
    host : HostCosts or None
        What a step takes beside its operators; None is nothing, operators only.

    Raises
    ------
    InvalidArgument
        If there are no measurements for these names; the message lists near ones.
    MissingDependency
        If aiconfigurator-core is not installed.

    Notes
    -----
    A batch of fewer prefill tokens than a prompt is a chunk of one, and :math:`A_p` is the mean
    over its chunks, whose later ones read the earlier. If a prompt of :math:`p` tokens costs
    :math:`\alpha p + \beta p^2` of attention, random prompts cost
    :math:`\alpha + \beta E[p^2] / E[p]` per prefill token (ours, renewal reward): so
    ``prompt_tokens`` is :math:`E[p^2] / E[p]`, not the mean. One prefill token beside decodes
    already costs a call of the attention operator, so the law jumps there. It is interpolated
    between whole counts, and not monotone.

    Examples
    --------
    >>> from queueing_llm.steptime import MeasuredStepTime
    >>> step = MeasuredStepTime("meta-llama/Llama-3.1-8B", "h100_sxm")
    >>> round(step(0, 64, 64 * 1024), 6)
    0.010345
    """

    model: str
    system: str
    backend: str = "vllm"
    tp: Annotated[int, Domain("TP", "GPUs", at_least=1, at_most=64, integer=True)] = 1
    prompt_tokens: _Prompt = 1024
    version: str | None = None
    gemm_precision: str | None = None
    kv_precision: str | None = None
    attention_precision: str | None = None
    host: HostCosts | None = None

    def __post_init__(self) -> None:
        validate(self)
        host: object = self.host
        if not isinstance(host, HostCosts | None):
            msg = f"host must be HostCosts or None, got host={host!r}."
            raise InvalidArgument(msg)
        version = known_version(self.system, self.backend, self.version)
        object.__setattr__(self, "version", version)
        object.__setattr__(self, "model", known_model(self.model))
        known_precisions(self.gemm_precision, self.kv_precision, self.attention_precision)
        measured_engine(self._key)

    @property
    def kv_slope(self) -> Real | None:
        """None: what a KV token costs depends on the batch."""
        return None

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of KV cache that a token takes on each GPU, which holds at least one head.

        Raises
        ------
        InvalidArgument
            If the model does not keep the same of every token (sliding windows).
        """
        return kv_bytes_per_token(self._key)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights on each GPU."""
        return memory_facts(self._key).weight_bytes

    @property
    def memory_bytes(self) -> int:
        """Nominal memory of one GPU [bytes]."""
        return memory_facts(self._key).memory_bytes

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return memory_facts(self._key).layers

    @property
    def notes(self) -> tuple[str, ...]:
        """What the law leaves out, smooths, extrapolates or takes from a formula."""
        return notes(
            self._key,
            measured_engine(self._key),
            facts=memory_facts(self._key),
            prompt_tokens=self.prompt_tokens,
            host=self.host,
        )

    def with_fitted_host(self, *, schedules_ahead: bool | None = None) -> "MeasuredStepTime":
        """Return the law with :meth:`HostCosts.fitted` of its backend and precision.

        Parameters
        ----------
        schedules_ahead : bool or None
            Whether vLLM prepares a step while the GPU runs the last one; None is the default
            of the version: from 0.14 on it does.

        Examples
        --------
        >>> from queueing_llm.steptime import MeasuredStepTime
        >>> step = MeasuredStepTime("meta-llama/Llama-3.1-8B", "h100_sxm").with_fitted_host()
        >>> round(step(0, 64, 64 * 1024), 6)
        0.011523
        """
        if schedules_ahead is None:
            schedules_ahead = self.backend == "vllm" and self._key.release >= _AHEAD_UNASKED
        quantised = memory_facts(self._key).gemm_precision != _NOT_QUANTISED
        host = HostCosts.fitted(
            self.backend, schedules_ahead=schedules_ahead, quantised=quantised
        )
        return replace(self, host=host)

    def kv_capacity(
        self, memory_fraction: Real | None = None, *, memory_bytes: int | None = None
    ) -> int:
        """Return the tokens of KV cache that fit beside the weights.

        The formula is :func:`kv_cache_tokens` with its default overhead. For an 8B model it
        says 40,614 tokens where vLLM 0.19 on an RTX 4090 found 41,408 (-1.9 %), and 451,305
        where vLLM 0.6.4 on an H100 found 53.29 GiB, that is 436,551 (+3.4 %).

        Parameters
        ----------
        memory_fraction : number or None
            Share of the GPU's memory in (0, 1] that the engine takes, or for TensorRT-LLM share
            of what is free; None is the backend's default: 0.9 (vLLM from 0.22 on 0.92, SGLang
            0.88, which it adapts to the GPU).
        memory_bytes : int or None
            Memory of one GPU [bytes]; None is the nominal one of ``system``, of which drivers
            report 1 to 2 % less.

        Returns
        -------
        int
            Tokens of the whole replica, as its scheduler counts them.

        Raises
        ------
        InvalidArgument
            If a value is outside its domain, or the weights leave no room.
        """
        return kv_capacity(self._key, memory_fraction, memory_bytes)

    def table(
        self,
        token_budget: int,
        *,
        most_decode_tokens: int | None = None,
        kv_capacity: int | None = None,
        relative_error: Real = _MEAN_ERROR,
    ) -> TableStepTime:
        """Return the law as a table for the batches of one engine.

        Parameters
        ----------
        token_budget : int
            Most tokens in a batch. Corners of the grid beyond it, which no batch reaches,
            follow a straight line.
        most_decode_tokens : int or None
            Most decode tokens in a batch; None stands for ``token_budget``.
        kv_capacity : int or None
            Most KV tokens that a batch reads; None stands for all that fit beside the weights
            if nothing else took memory.
        relative_error : number
            Most mean error of the operator times on random batches, to which ``host`` adds
            none; :meth:`table_errors` says what it is of the law.

        Returns
        -------
        TableStepTime
            A grid of prefill, decode and KV tokens from 0 to these limits.

        Raises
        ------
        InvalidArgument
            If a limit is outside its domain, or no moderate table is that exact.

        Examples
        --------
        >>> from queueing_llm.steptime import MeasuredStepTime
        >>> step = MeasuredStepTime("meta-llama/Llama-3.1-8B", "h100_sxm")
        >>> table = step.table(512, most_decode_tokens=256, kv_capacity=400_000)
        >>> round(table(448, 64, 64 * 1024) / step(448, 64, 64 * 1024), 2)
        1.0
        """
        found = self._sampled(token_budget, most_decode_tokens, kv_capacity, relative_error)
        return found.table

    def table_errors(
        self,
        token_budget: int,
        *,
        most_decode_tokens: int | None = None,
        kv_capacity: int | None = None,
        relative_error: Real = _MEAN_ERROR,
    ) -> tuple[float, float]:
        """Return the median and the worst relative error of :meth:`table`, given the same.

        They are those on 1500 random batches that took no part in choosing the grid: half of
        decodes alone, a quarter full, numbers of decodes and their contexts log-uniform. The
        worst are where a step of the law crosses a cell of the grid.

        Examples
        --------
        >>> from queueing_llm.steptime import MeasuredStepTime
        >>> step = MeasuredStepTime("meta-llama/Llama-3.1-8B", "h100_sxm")
        >>> median, worst = step.table_errors(2048, most_decode_tokens=256)
        >>> median < 0.005, worst < 0.1
        (True, True)
        """
        found = self._sampled(token_budget, most_decode_tokens, kv_capacity, relative_error)
        return float(np.median(found.errors)), float(found.errors.max())

    def candidate_batches(
        self, most_tokens: int, *, most_decode_tokens: int | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return those of the table; see :meth:`AbstractStepTime.candidate_batches`."""
        check_limits(most_tokens, most_decode_tokens)
        most_decodes = min(most_tokens, most_decode_tokens or most_tokens)
        table = self.table(most_tokens, most_decode_tokens=most_decodes)
        return table.candidate_batches(most_tokens, most_decode_tokens=most_decodes)

    def kernel_form(self, most_tokens: int) -> KernelForm:
        """Return the table as plain arrays; see :meth:`AbstractStepTime.kernel_form`."""
        check(most_tokens, "most_tokens", Tokens)
        return self.table(most_tokens).kernel_form(most_tokens)

    def _seconds(self, x: Number, y: Number, kv: Number) -> Number:
        for name, count in (("prefill_tokens", x), ("decode_tokens", y), ("kv_tokens", kv)):
            if is_false(count <= _MOST):
                msg = f"{name} must be at most {_MOST} [tokens], got {name}={count!r}."
                raise InvalidArgument(msg)
        return on_the_host(self._flat_seconds, (x, y, kv))

    def _flat_seconds(self, x: np.ndarray, y: np.ndarray, kv: np.ndarray) -> np.ndarray:
        seconds = self._law.seconds(x, y, kv)
        if self.host is None:
            return seconds
        return self.host.added_to(seconds, self.layers, prefill_tokens=x, decode_tokens=y)

    def _sampled(
        self, budget: int, decodes: int | None, kv: int | None, error: Real
    ) -> SampledTable:
        check(budget, "token_budget", _Count)
        if decodes is not None:
            check(decodes, "most_decode_tokens", _Count)
        if kv is None:
            kv = most_kv_tokens(self._key)
        check(kv, "kv_capacity", _KV)
        check(error, "relative_error", _Error)
        limits = TableLimits(budget, decodes or budget, kv)
        found = sampled_table(self._law, limits, float(error))
        return found if self.host is None else with_host(found, self.host, self.layers)

    @property
    def _law(self) -> MeasuredLaw:
        return MeasuredLaw(measured_engine(self._key), self.prompt_tokens)

    @property
    def _key(self) -> MeasuredKey:
        return MeasuredKey(
            model=self.model,
            system=self.system,
            backend=self.backend,
            version=str(self.version),
            tp=self.tp,
            gemm=self.gemm_precision,
            kv=self.kv_precision,
            attention=self.attention_precision,
        )
