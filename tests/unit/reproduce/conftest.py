"""A small paper whose claims come out in every possible way."""

import sys
import textwrap

import pytest

CLAIMS = """\
[paper]
title = "On <toys>"
authors = "A. Author"
source = "arXiv:0000.00001v2"
about = "A paper with one claim of every fate."

[[figures]]
module = "fig_toy"
caption = "A line & its slope."
seconds = 2
quick_seconds = 1

[[figures]]
module = "table_broken"
caption = "A computation that breaks off."
seconds = 1
quick_seconds = 1

[[figures]]
module = "table_measured"
caption = "Held against measurements."
seconds = 1
quick_seconds = 1
data = [{ file = "toy/steps.csv", origin = "a public place" }]

[[claims]]
id = "exact"
figure = "fig_toy"
value = "third"
source = "eq. (1)"
stated_by = "paper"
statement = "A third."
kind = "exact"
expected = "1/3"
status = "reproduced"

[[claims]]
id = "other"
figure = "fig_toy"
value = "slope"
source = "Fig. 2"
stated_by = "paper"
statement = "The slope is 3."
kind = "exact"
expected = 3
obtained = 2.5
tolerance = 0.05
status = "differs"
reason = "The paper rounds up <always>."

[[claims]]
id = "noisy"
figure = "fig_toy"
value = "noise"
source = "ours"
stated_by = "ours"
statement = "About one."
kind = "statistical"
expected = 1
resolution = 0.01
status = "reproduced"

[[claims]]
id = "estimated"
figure = "fig_toy"
value = "estimate"
source = "ours"
stated_by = "ours"
statement = "About one."
kind = "statistical"
expected = 1
resolution = 0.2
status = "reproduced"

[[claims]]
id = "word"
figure = "fig_toy"
value = "verdicts"
source = "Table 1"
stated_by = "paper"
statement = "One grows, the other does not."
kind = "qualitative"
expected = ["UNSTABLE", "STABLE"]
status = "reproduced"

[[claims]]
id = "broken"
figure = "table_broken"
value = "anything"
source = "eq. (9)"
stated_by = "paper"
statement = "Something."
kind = "exact"
expected = 1
status = "reproduced"

[[claims]]
id = "measured"
figure = "table_measured"
value = "rows"
source = "Fig. 3"
stated_by = "paper"
statement = "Two rows."
kind = "exact"
expected = 2
status = "reproduced"

[[claims]]
id = "unknown"
source = "Fig. 4"
stated_by = "paper"
statement = "The axis reaches 100."
kind = "exact"
status = "not_reproduced"
reason = "The paper does not say what its axis shows."
"""

FIGURE = '''\
"""A line."""

from fractions import Fraction

from queueing_llm.plots import framed
from queueing_llm.reproduce import Computed
from queueing_llm.simulate import Estimate


def compute(*, quick=False):
    error = 0.1 if quick else 0.05
    return Computed(
        {
            "third": Fraction(1, 3),
            "slope": 2.5,
            "noise": Estimate(1.0, error, 4, "replications"),
            "estimate": Estimate(1.1, error, 4, "replications"),
            "verdicts": ("UNSTABLE", "STABLE"),
        },
        {"line": {"time_s": [0, 1], "tokens": [0, Fraction(5, 2)]}},
    )


def plot(computed):
    figure, axes = framed("A line", height=2)
    axes.plot(computed.tables["line"]["time_s"], [0, 2.5])
    return figure
'''
BROKEN = '''\
"""Breaks off."""


def compute(*, quick=False):
    raise ZeroDivisionError("nothing")
'''
MEASURED = '''\
"""Counts rows."""

from queueing_llm.reproduce import Computed


def compute(data, *, quick=False):
    lines = (data / "toy" / "steps.csv").read_text().split()
    return Computed({"rows": len(lines) - 1})
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The folder of the toy paper, importable like an installed one."""
    folder = tmp_path / "toy_papers" / "toy2026"
    folder.mkdir(parents=True)
    for name, text in {
        "../__init__.py": '"""Toys."""\n',
        "__init__.py": '"""A toy."""\n',
        "claims.toml": CLAIMS,
        "fig_toy.py": FIGURE,
        "table_broken.py": BROKEN,
        "table_measured.py": MEASURED,
    }.items():
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    # Each test has a folder of its own, so no module may be remembered.
    yield folder
    for name in [name for name in sys.modules if name.startswith("toy_papers")]:
        del sys.modules[name]
