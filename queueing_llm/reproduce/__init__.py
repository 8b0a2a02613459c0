"""Claims of papers, tried: what is stated, what is obtained, and where they differ and why."""

from queueing_llm.reproduce._attempt import Attempt, attempt, attempt_all, seconds_of, untried
from queueing_llm.reproduce._claim import KINDS, STATED_BY, STATUSES, Claim
from queueing_llm.reproduce._computed import Computed, Value
from queueing_llm.reproduce._files import made_folder
from queueing_llm.reproduce._judge import Judgement, Verdict, judge
from queueing_llm.reproduce._page import page
from queueing_llm.reproduce._paper import (
    DataFile,
    Paper,
    PaperFigure,
    papers,
    papers_folder,
    read_paper,
)
from queueing_llm.reproduce._words import words

__all__ = [
    "KINDS",
    "STATED_BY",
    "STATUSES",
    "Attempt",
    "Claim",
    "Computed",
    "DataFile",
    "Judgement",
    "Paper",
    "PaperFigure",
    "Value",
    "Verdict",
    "attempt",
    "attempt_all",
    "judge",
    "made_folder",
    "page",
    "papers",
    "papers_folder",
    "read_paper",
    "seconds_of",
    "untried",
    "words",
]
