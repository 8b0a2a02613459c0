"""The users of a closed workload."""

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import ClosedArrivals, Workload
from queueing_llm.model._arguments import check_kind


def crowd_of(workload: Workload) -> ClosedArrivals:
    """Return how many users a workload has and how they think.

    Parameters
    ----------
    workload : Workload
        A closed one.

    Raises
    ------
    InvalidArgument
        If it is open.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> crowd_of(ql.Workload.closed(3, think_time=2, prompt_tokens=5, output_tokens=5)).users
    3
    """
    check_kind(workload, "workload", kind=Workload, such_as="Workload.closed(64, ...)")
    arrivals = workload.arrivals
    if isinstance(arrivals, ClosedArrivals):
        return arrivals
    msg = (
        f"workload must be closed, as of Workload.closed(users, ...), got {arrivals!r}: "
        "an open workload has no fixed number of users."
    )
    raise InvalidArgument(msg)
