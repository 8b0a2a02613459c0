"""Numbers as the tables print them."""

import pytest

from queueing_llm.cli._text import percent


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.25, "25.0%"),
        (-17.68, "-1768%"),
        (-1e-6, "0.0%"),
        (None, "unknown"),
        (-3e5, "-3e+07%"),
    ],
)
def test_shares_are_shown_in_percent_and_zero_has_no_sign(share, shown):
    assert percent(share) == shown
