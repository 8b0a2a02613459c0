"""What a file of claims must say, and what of it is refused."""

import re
from fractions import Fraction

import pytest

from queueing_llm.errors import InvalidArgument
from queueing_llm.reproduce import read_paper


def test_numbers_are_read_as_they_are_written(toy):
    paper = read_paper(toy / "claims.toml")
    other = next(claim for claim in paper.claims if claim.id == "other")
    assert other.obtained == Fraction(5, 2)
    assert other.tolerance == Fraction(1, 20)


def test_claims_know_their_figure(toy):
    paper = read_paper(toy / "claims.toml")
    assert [c.id for c in paper.claims_of(paper.figure("toy"))] == [
        "exact", "other", "noisy", "estimated", "word",
    ]  # fmt: skip
    assert paper.figure("fig_toy") is paper.figure("toy") is paper.figure("FIG_TOY")
    with pytest.raises(InvalidArgument, match="did you mean 'fig_toy'"):
        paper.figure("fig_toi")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "exact"', 'kind = "certain"', "'exact', 'statistical' or 'qualitative'"),
        ('stated_by = "paper"', 'stated_by = "rumour"', "'reproduction', 'ours' or 'nobody'"),
        ('id = "other"', 'id = "exact"', "'exact' stands there twice"),
        ('figure = "fig_toy"', 'figure = "fig_tyo"', "did you mean 'fig_toy'"),
        ('value = "third"\n', "", "needs a figure and a value"),
        ('expected = "1/3"\n', "", "needs what is expected"),
        ("obtained = 2.5\n", "", "needs what is obtained"),
        ('reason = "The paper rounds up <always>."\n', "", "needs a reason"),
        ('reason = "The paper does not say what its axis shows."\n', "", "needs a reason"),
        ("resolution = 0.01\n", "", "needs a resolution"),
        (
            'status = "not_reproduced"',
            'status = "not_reproduced"\nfigure = "fig_toy"',
            "not tried",
        ),
        ('kind = "qualitative"', 'kind = "qualitative"\ntolerance = 0.1', "no tolerance"),
        ('kind = "qualitative"', 'kind = "qualitative"\nweight = 1', "Extra inputs"),
        ("tolerance = 0.05", "tolerance = -0.05", "must not be negative"),
        ("tolerance = 0.05", "standard_errors = 0", "must be above 0"),
        ("resolution = 0.01", "resolution = 0", "needs a resolution above 0"),
        ("expected = 3", 'expected = "three"', "a number is accepted, got 'three'"),
        ("expected = 3", 'expected = "3/0"', "a number is accepted, got '3/0'"),
        ("obtained = 2.5", "obtained = [1, [true]]", "is exact"),
        ('["UNSTABLE", "STABLE"]', "[1.5]", "a word is accepted, got 3/2"),
        ("seconds = 2", "seconds =", "cannot be read"),
        ("expected = 3", "expected = nan", "cannot be read"),
        ("expected = 3", "expected = []", "expects an empty list"),
        ("obtained = 2.5", "obtained = 3.04", "differs, but by less than its tolerance"),
        ("expected = 2\n", "expected = 2\ntolerance = 2\n", "would hold if 0 were obtained"),
        ("resolution = 0.2", "resolution = 0.4", "would hold if 0 were obtained"),
        (
            "expected = 3",
            "expected = 3\nresolution = 1",
            "has a resolution, but is not statistical",
        ),
        ("[paper]", 'name = "x"\n[paper]', "[name] of claims.toml"),
        ("[[claims]]", "[claims]", "cannot be read"),
        ("expected = 3\n", "expects = 3\n", "claims.other.expects"),
        ("quick_seconds = 1\n", 'quick_seconds = "x"\n', "figures.fig_toy.quick_seconds"),
    ],
)
def test_an_incomplete_claim_is_refused(toy, old, new, message):
    file = toy / "claims.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        read_paper(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidArgument, match=r"claims\.toml"):
        read_paper(tmp_path / "claims.toml")


def test_a_long_file_is_continued_in_others(toy):
    whole = read_paper(toy / "claims.toml")
    head, last = (toy / "claims.toml").read_text().rsplit("[[claims]]", 1)
    (toy / "claims.toml").write_text(head)
    (toy / "claims_more.toml").write_text(f"[[claims]]{last}")
    assert read_paper(toy / "claims.toml") == whole
    (toy / "claims_more.toml").write_text('[paper]\ntitle = "Another"\n')
    with pytest.raises(InvalidArgument, match=r"\[paper\] of claims_more.toml"):
        read_paper(toy / "claims.toml")
