"""The tables of claims in the READMEs: ``python -m paper_repro.contents`` writes them anew."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from queueing_llm.reproduce import (
    KINDS,
    STATED_BY,
    STATUSES,
    Claim,
    Paper,
    papers,
    papers_folder,
    words,
)

BEGIN, END = "<!-- claims -->", "<!-- /claims -->"


def pages() -> dict[Path, str]:
    """Return the text that each README should have, tables included."""
    known = papers()
    texts = {papers_folder() / "README.md": _counts(known)}
    texts |= {paper.folder / "README.md": _claims(paper) for paper in known}
    return {file: _filled(file, table) for file, table in texts.items()}


def _filled(file: Path, table: str) -> str:
    """Put a table between the two marks of a file."""
    before, _, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        msg = f"{file} must have the lines {BEGIN} and {END}."
        raise ValueError(msg)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def _counts(known: Sequence[Paper]) -> str:
    """Count claims: by kind and status, by who states them and status, and for each paper."""
    everything = [claim for paper in known for claim in paper.claims]
    crossed = [
        _table(
            [heading, *map(_plain, STATUSES), "sum"],
            [
                [name, *_numbers(claims, "status", STATUSES)]
                for name, claims in (
                    *((word, _those(everything, key, word)) for word in words_of),
                    ("all", everything),
                )
            ],
        )
        for heading, key, words_of in (
            ("kind", "kind", KINDS),
            ("stated by", "stated_by", STATED_BY),
        )
    ]
    papers_ = _table(
        ["paper", *KINDS, *map(_plain, STATUSES), "sum"],
        [
            [
                f"[{paper.name}]({paper.name}/README.md)",
                *_numbers(paper.claims, "kind", KINDS)[:-1],
                *_numbers(paper.claims, "status", STATUSES),
            ]
            for paper in known
        ],
    )
    return "\n\n".join((*crossed, papers_))


def _those(claims: Sequence[Claim], key: str, word: str) -> list[Claim]:
    return [claim for claim in claims if getattr(claim, key) == word]


def _numbers(claims: Sequence[Claim], key: str, words_of: Iterable[str]) -> list[str]:
    """Return how many claims have each of these words as their kind or status, and the sum."""
    counts = [len(_those(claims, key, word)) for word in words_of]
    return [str(count or "") for count in (*counts, len(claims))]


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns but the first are numbers."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _claims(paper: Paper) -> str:
    """List the claims of a paper; what differs or is not tried says why."""
    lines = [
        "| claim | where | stated by | kind | expected | status |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(claim) for claim in paper.claims]
    return "\n".join(lines)


def _row(claim: Claim) -> str:
    expected = words(claim.expected, unit=claim.unit)
    status = _plain(claim.status)
    if claim.obtained is not None:
        status += f": {words(claim.obtained, unit=claim.unit)}"
    if claim.reason:
        status += f". {claim.reason}"
    cells = (claim.statement, claim.source, claim.stated_by, claim.kind, expected, status)
    return (
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
    )


def main() -> None:
    """Write all READMEs anew."""
    for file, text in pages().items():
        file.write_text(text, encoding="utf-8")
        print(file)


if __name__ == "__main__":
    main()
