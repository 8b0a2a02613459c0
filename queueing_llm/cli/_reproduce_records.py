"""Papers and their claims as records, for ``reproduce --json``."""

import numbers
from collections.abc import Sequence
from typing import Any

from queueing_llm.reproduce import Attempt, Judgement, Paper, untried, words
from queueing_llm.simulate import Estimate


def paper_record(paper: Paper, attempts: Sequence[Attempt], *, whole: bool) -> dict[str, Any]:
    """Return a paper with the claims that were judged; if ``whole``, with the others, too."""
    judged = [j for a in attempts if a.paper.name == paper.name for j in a.judgements]
    judged += untried([paper]) if whole else ()
    return {
        "paper": paper.name,
        "title": paper.paper.title,
        "source": paper.paper.source,
        "claims": [_claim_record(judgement) for judgement in judged],
    }


def listing(papers: Sequence[Paper]) -> dict[str, Any]:
    """Return the papers that can be reproduced, with their figures."""
    return {
        "papers": [
            {
                "paper": paper.name,
                "title": paper.paper.title,
                "source": paper.paper.source,
                "figures": [figure.module for figure in paper.figures],
                "claims": len(paper.claims),
            }
            for paper in papers
        ]
    }


def _claim_record(judgement: Judgement) -> dict[str, Any]:
    claim, obtained = judgement.claim, judgement.obtained
    error = obtained.standard_error if isinstance(obtained, Estimate) else None
    return {
        "id": claim.id,
        "figure": claim.figure or None,
        "source": claim.source,
        "stated_by": claim.stated_by,
        "kind": claim.kind,
        "statement": claim.statement,
        "expected": _plain(claim.expected),
        "tolerance": float(claim.tolerance),
        "obtained": _plain(obtained.value if isinstance(obtained, Estimate) else obtained),
        "standard_error": error,
        "unit": claim.unit,
        "verdict": judgement.verdict.name,
        "reason": judgement.reason,
    }


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; a fraction becomes a decimal, unless written as one."""
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Estimate):
        return {"value": value.value, "standard_error": value.standard_error}
    return float(value) if isinstance(value, numbers.Real) else words(value)
