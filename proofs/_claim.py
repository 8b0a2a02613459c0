"""What a proof file is made of, shared by all of them.

A proof file states one claim. Its docstring has the headings **Setting**, **Claim**,
**Checked here**, **Not checked here**, **Argument**, **Source**, in this order. It defines
``KIND``, one of ``KINDS``; ``prove()``, which checks the claim in exact arithmetic and returns
how many comparisons that took; and ``CONTROLS``, functions that check a claim that is false
and must raise ``NotProved``.
"""

KINDS = ("theorem", "identity", "counterexample")
HEADINGS = ("Setting", "Claim", "Checked here", "Not checked here", "Argument", "Source")


class NotProved(AssertionError):
    """The check of a claim failed."""


def require(holds: object, reason: str) -> None:
    """Raise :class:`NotProved` unless a step of the proof holds."""
    if not bool(holds):
        raise NotProved(reason)
