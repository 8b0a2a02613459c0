"""Counterexamples as files: written once, and played again by whoever changes the policy.

A file holds the requests and the engine, the contract that they break and the sentence that
said so, as JSON of integers and words. It names no policy: any policy can be asked whether the
same requests still break the contract. Numbers and words stand under a digest, so that a file
that was damaged or changed by hand is refused and never taken for what was found.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import EngineState, Policy
from queueing_llm.policies.field import FieldSystem
from queueing_llm.verify.contracts._contract import Contract
from queueing_llm.verify.contracts._listed import CONTRACTS
from queueing_llm.verify.contracts._named import fcfs_window
from queueing_llm.verify.findings._counterexample import Counterexample
from queueing_llm.verify.findings._report import Finding, Outcome, PolicyReport, Support
from queueing_llm.verify.findings._reproduction_file import (
    document_of,
    read,
    state_of,
    trial_of,
    write,
)
from queueing_llm.verify.plays._ask import ask, broken_rule
from queueing_llm.verify.plays._decision import Ending, Play
from queueing_llm.verify.plays._play import play
from queueing_llm.verify.plays._trial import Trial

LENGTH_OF_WINDOW = re.compile(r"fcfs_window\(([1-9]\d{0,8})\)")


def save_counterexample(finding: Finding, path: str | Path) -> None:
    """Write what breaks a contract to a file that :func:`replay` reads.

    Parameters
    ----------
    finding : Finding
        A violated contract, as :func:`check_policy` reports it.
    path : str or Path
        The file; what is there is replaced.

    Raises
    ------
    InvalidArgument
        If there is no counterexample, if the contract bears the name of another one, or if the
        file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy
    >>> report = check_policy(ql.VANILLA_VLLM, contracts=["oldest_first"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "overtaken.json")
    ...     save_counterexample(report["oldest_first"], path)
    ...     print(replay(path, ql.VANILLA_VLLM).basis)
    ...     print(replay(path, ql.SARATHI).basis)
    request 0, the oldest, gets nothing while request 1 is served
    kept: these requests lead to 2 decisions that it is about
    """
    write(_document(finding), Path(path))


def save_counterexamples(report: PolicyReport, folder: str | Path) -> tuple[Path, ...]:
    """Write every counterexample of a report to a folder, one file each.

    A file is named by its contract and its digest: what was found before keeps its file, and
    nothing else is ever replaced.

    Parameters
    ----------
    report : PolicyReport
        What was found out. A contract about the policy as a whole, such as ``drift``, plays
        on an engine of its own, and gets no file.
    folder : str or Path
        Where to; it is made if it is not there.

    Returns
    -------
    tuple of Path
        The files, in the order of the report.

    Raises
    ------
    InvalidArgument
        As for :func:`save_counterexample`.

    Examples
    --------
    >>> import tempfile
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy
    >>> report = check_policy(ql.VANILLA_VLLM, contracts=["oldest_first", "progress"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in save_counterexamples(report, folder)]
    ['oldest_first-...json']
    """
    written = []
    for finding in report.findings:
        if finding.counterexample is None or finding.contract.about == "whole":
            continue
        document = _document(finding)
        word = re.sub(r"\W+", "-", finding.contract.name).strip("-")
        path = Path(folder, f"{word}-{document['sha256'][:8]}.json")
        write(document, path, makes_folder=True)
        written.append(path)
    return tuple(written)


def replay(
    path: str | Path, policy: Policy | FieldSystem, *, contracts: Iterable[Contract] = ()
) -> Finding:
    """Play the requests of a file again, and say whether they still break its contract.

    Parameters
    ----------
    path : str or Path
        A file that :func:`save_counterexample` has written.
    policy : Policy or FieldSystem
        Who plays, not necessarily who broke it first.
    contracts : iterable of Contract
        Those that a name does not make: contracts of your own, and ``same_as``, whose other
        policy is no part of the file. The contracts of :data:`CONTRACTS` and
        ``fcfs_window(3)`` need none.

    Returns
    -------
    Finding
        VIOLATED with the counterexample as it was played now; HOLDS if these requests break
        the contract nowhere, which says nothing about others; UNDECIDED if they were not
        served to the end, or lead to no decision that the contract is about.

    Raises
    ------
    InvalidArgument
        If the file cannot be read, is of another format or version, was changed since it was
        written, or is about a contract that is not known.

    Notes
    -----
    A state that was found by enumeration comes without the way to it: the policy is asked
    about the state itself.

    Examples
    --------
    >>> import tempfile
    >>> import queueing_llm as ql
    >>> from queueing_llm.verify import check_policy
    >>> report = check_policy(ql.VANILLA_VLLM, contracts=["progress"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (path,) = save_counterexamples(report, folder)
    ...     print(replay(path, ql.SARATHI).outcome, replay(path, ql.VANILLA_VLLM).outcome)
    Outcome.HOLDS Outcome.VIOLATED
    """
    document = read(Path(path))
    contract = _contract(document["contract"], contracts, path=path)
    try:
        trial = trial_of(document)
        state = None if trial.arrivals else state_of(document, trial.engine)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        msg = f"counterexample {str(path)!r} cannot be played: {str(error).rstrip('.')}."
        raise InvalidArgument(msg) from error
    played = play(policy, trial) if state is None else _asked(policy, trial, state)
    breach = contract.first_breach(policy, played)
    if breach is not None:
        position, sentence = breach
        shown = replace(played, decisions=played.decisions[: position + 1])
        found = Counterexample(shown, sentence)
        return Finding(contract, Outcome.VIOLATED, Support.COUNTEREXAMPLE, sentence, found)
    count = sum(contract.is_tested_by(decision) for decision in played.decisions)
    if played.ending is not Ending.FINISHED:
        basis = f"not broken, but these requests were not served: {played.ending.value}"
        return Finding(contract, Outcome.UNDECIDED, Support.NONE, basis)
    if count == 0:
        basis = "these requests lead to no decision that it is about any more"
        return Finding(contract, Outcome.UNDECIDED, Support.NONE, basis)
    decisions = "1 decision" if count == 1 else f"{count} decisions"
    basis = f"kept: these requests lead to {decisions} that it is about"
    return Finding(contract, Outcome.HOLDS, Support.TESTED, basis)


def _document(finding: Finding) -> dict[str, Any]:
    """Return a counterexample as plain data, if its contract can be told by its name."""
    contract, found = finding.contract, finding.counterexample
    if found is None:
        msg = f"finding must have a counterexample, got {contract.name}: {finding.basis}."
        raise InvalidArgument(msg)
    if contract.about == "whole":
        msg = f"contract must be about decisions or a run to be saved, got {contract.name!r}."
        raise InvalidArgument(msg)
    known = _by_name(contract.name)
    if known is not None and not _are_alike(known, contract):
        msg = f"contract must have a name of its own, got {contract.name!r}, a listed one's."
        raise InvalidArgument(msg)
    return document_of(contract, found)


def _are_alike(one: Contract, other: Contract) -> bool:
    """Whether two contracts of one name are one, made twice if it has a parameter."""
    codes = [getattr(contract.check, "__code__", contract.check) for contract in (one, other)]
    return codes[0] is codes[1] and replace(one, check=other.check) == other


def _by_name(name: str) -> Contract | None:
    """Return the contract that its name alone makes."""
    window = LENGTH_OF_WINDOW.fullmatch(name)
    return fcfs_window(int(window[1])) if window else CONTRACTS.get(name)


def _contract(name: Any, given: Iterable[Contract], *, path: str | Path) -> Contract:
    own = {contract.name: contract for contract in given}
    found = own.get(name) or _by_name(str(name))
    if found is not None and found.about == "whole":
        msg = f"contract {found.name!r} is about a policy as a whole and is not replayed."
        raise InvalidArgument(msg)
    if found is None:
        msg = (
            f"counterexample {str(path)!r} is about {name!r}, which its name does not make: "
            "pass that contract in contracts, from Python."
        )
        raise InvalidArgument(msg)
    return found


def _asked(policy: Policy | FieldSystem, trial: Trial, state: EngineState) -> Play:
    """Return the one question about a state, as a play."""
    if isinstance(policy, FieldSystem):
        msg = f"{policy.name} must be played to a state, got a state without the way to it."
        raise InvalidArgument(msg)
    decision = ask(policy, state)
    is_legal = decision.batch is not None and not broken_rule(state, decision.batch)
    return Play(trial, (decision,), Ending.FINISHED if is_legal else Ending.ILLEGAL)
