"""First and second moments of the lengths of a request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from queueing_llm._validate import Real
from queueing_llm.errors import InvalidArgument


@final
@dataclass(frozen=True, slots=True)
class LengthMoments:
    r"""Moments of the prompt length :math:`p` and output length :math:`d` of a request.

    Exact Fractions where the lengths have rational moments, else floats.

    Parameters
    ----------
    prompt, output : Real
        :math:`E[p]`, :math:`E[d]` [tokens].
    prompt_squared, output_squared, product : Real
        :math:`E[p^2]`, :math:`E[d^2]`, :math:`E[p d]` [tokens^2].
    shortest_output : int
        The smallest possible :math:`d` [tokens].

    Examples
    --------
    >>> from queueing_llm.model import Workload
    >>> load = Workload.poisson(arrival_rate=1, prompt_tokens=100, output_tokens=100)
    >>> load.moments.kv_reads(0)
    Fraction(14950, 1)
    """

    prompt: Real
    output: Real
    prompt_squared: Real
    output_squared: Real
    product: Real
    shortest_output: int

    def kv_reads(self, decode_steps_offset: int) -> Real:
        r"""Return the mean KV tokens that one request reads over all its decode steps.

        .. math:: E\Bigl[\sum_{j=0}^{D-1} (p + j)\Bigr] = E[p D] + E[D (D - 1)] / 2,
           \qquad D = d + \text{offset}.

        Parameters
        ----------
        decode_steps_offset : int
            0 in the paper's accounting, -1 where the prefill yields the first token; this
            is ``engine.decode_steps(0)``.

        Returns
        -------
        Real
            Tokens read per request.

        Raises
        ------
        InvalidArgument
            If the offset is neither 0 nor -1, or makes the decode steps negative.
        """
        offset = decode_steps_offset
        if isinstance(offset, bool) or offset not in (0, -1):
            msg = f"decode_steps_offset must be 0 or -1, got decode_steps_offset={offset!r}."
            raise InvalidArgument(msg)
        if self.shortest_output + offset < 0:
            msg = (
                "output lengths must be at least 1 where the prefill yields the first token, "
                f"got requests with output_tokens={self.shortest_output}."
            )
            raise InvalidArgument(msg)
        steps = self.output + offset
        steps_squared = self.output_squared + 2 * offset * self.output + offset**2
        return self.product + offset * self.prompt + (steps_squared - steps) / 2


def mixed_moments(parts: Sequence[LengthMoments], shares: Sequence[Real]) -> LengthMoments:
    """Return the moments of a request that follows each law with the given probability."""

    def mixed(moment: str) -> Real:
        shared = zip(shares, parts, strict=True)
        return sum(share * getattr(part, moment) for share, part in shared)

    return LengthMoments(
        prompt=mixed("prompt"),
        output=mixed("output"),
        prompt_squared=mixed("prompt_squared"),
        output_squared=mixed("output_squared"),
        product=mixed("product"),
        shortest_output=min(part.shortest_output for part in parts),
    )
