"""The least backlog that any policy can have: a fluid server that is always busy.

A server of rate r, fed by the same requests, holds the largest excess of arrivals over
service on any window that ends now. No engine that serves at most r tokens per second,
started empty, ever holds less (section 3.2 of the theory of arXiv:2504.07347).
"""


def least_backlog(arrivals, rate, at):
    """Return the workload just after time ``at``: ``arrivals`` are (time, tokens) pairs."""
    excess = [0]
    for begin, _ in arrivals:
        window = sum(tokens for time, tokens in arrivals if begin <= time <= at)
        if begin <= at:
            excess.append(window - rate * (at - begin))
    return max(excess)
