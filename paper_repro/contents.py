"""The tables of claims in the READMEs: ``python -m paper_repro.contents`` writes them anew."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from queueing_llm.reproduce import KINDS, STATUSES, Claim, Paper, papers, papers_folder, words

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
    """Count claims by kind and status, for each paper and together."""
    cells = [(kind, status) for kind in KINDS for status in STATUSES]
    everything = [claim for paper in known for claim in paper.claims]
    used = [cell for cell in cells if any((c.kind, c.status) == cell for c in everything)]
    rows = [("all", everything)] + [
        (f"[{paper.name}]({paper.name}/README.md)", list(paper.claims)) for paper in known
    ]
    lines = [
        "| paper | " + " | ".join(f"{k}, {s.replace('_', ' ')}" for k, s in used) + " | sum |",
        "|---|" + "---:|" * (len(used) + 1),
    ]
    for name, claims in rows:
        count = Counter((claim.kind, claim.status) for claim in claims)
        numbers = [str(count[cell] or "") for cell in used]
        lines.append(f"| {name} | " + " | ".join(numbers) + f" | {len(claims)} |")
    return "\n".join(lines)


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
    status = claim.status.replace("_", " ")
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
