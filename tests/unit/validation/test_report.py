"""The report: errors, tables, and parts that have no data."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper_repro.validation.report import composed
from paper_repro.validation.sections import Section, guidellm_section, vllm_section
from paper_repro.validation.tables import Errors, markdown, percent, share, write_csv

SIZES = st.lists(st.floats(0.01, 100), min_size=1, max_size=20)


@given(SIZES, st.floats(-0.5, 0.5))
def test_one_error_everywhere_is_that_error(measured, error):
    found = Errors.of([(1 + error) * x for x in measured], measured)
    assert found.count == len(measured)
    assert found.median == found.mean == found.worst == pytest.approx(abs(error), abs=1e-4)
    assert found.bias == pytest.approx(error, abs=1e-4)


def test_errors_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="must be equal"):
        Errors.of([1.0], [1.0, 2.0])


def test_what_is_not_there_is_a_dash():
    assert Errors.of([], []).count == 0
    assert percent(Errors.of([], []).bias) == share(float("nan")) == "—"


def test_cells_of_a_table_do_not_break_it(tmp_path):
    text = markdown(("a", "b"), [("x", 0.123456), ("y", 2)])
    assert {line.count("|") for line in text.splitlines()} == {3}
    path = write_csv(tmp_path / "t.csv", ("a", "b"), [("x", 0.5)])
    assert path.read_text() == "a,b\nx,0.5\n"


@pytest.mark.parametrize("part", [guidellm_section, vllm_section])
def test_a_part_without_data_says_so(part, tmp_path):
    section = part(tmp_path, tmp_path, quick=True)
    assert section.text.startswith("Left out:")
    assert section.targets == section.figures == ()
    assert section.text in composed([section], quick=True)


def test_targets_stand_at_the_head(tmp_path):
    line = ("2", "TPOT < 10%", "9.0 %", "met")
    section = Section("A part", "Its text.", (line,), (tmp_path / "figure.png",))
    text = composed([section], quick=False)
    assert text.index("| 2 | TPOT < 10% | 9.0 % | met |") < text.index("## A part")
    assert "![figure](figure.png)" in text
    assert "quick run" not in text
