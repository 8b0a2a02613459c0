"""``fuzz`` and ``record`` of ``python -m queueing_llm.verify.adapters``."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from queueing_llm.verify.adapters._fuzz import fuzz
from queueing_llm.verify.adapters._fuzz_live import played_live
from queueing_llm.verify.adapters._fuzz_random import DRAWN, random_workloads
from queueing_llm.verify.adapters._fuzz_workload import played_by_model
from queueing_llm.verify.adapters._live import open_worker
from queueing_llm.verify.adapters._record import recorded
from queueing_llm.verify.adapters._record_file import write_recording

TO_CHOOSE_FROM = 1000


def add_commands(commands: Any) -> None:
    """Add the commands to the subparsers of a parser.

    Parameters
    ----------
    commands
        What ``add_subparsers`` has returned. In the arguments that are parsed, ``run`` is a
        function of them, and of a function that prints a line, to the exit status.

    Examples
    --------
    >>> commands = argparse.ArgumentParser().add_subparsers()
    >>> add_commands(commands)
    >>> sorted(commands.choices)
    ['fuzz', 'record']
    """
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--environment", required=True, help="a folder made by build")
    options.add_argument("--system", required=True, choices=list(DRAWN))
    options.add_argument("--seed", type=int, default=0)
    compare = commands.add_parser(
        "fuzz", parents=[options], help="compare the rule model with the real code"
    )
    compare.add_argument("--workloads", type=_positive, default=200)
    compare.set_defaults(run=run_fuzz)
    record = commands.add_parser(
        "record", parents=[options], help="write what the real code does to a file"
    )
    record.add_argument("folder", help="gets a file with the name of the system")
    record.set_defaults(run=run_record)


def _positive(text: str) -> int:
    """Return a number of workloads; none at all would differ in nothing."""
    number = int(text)
    if number < 1:
        msg = f"must be at least 1, got {number}"
        raise argparse.ArgumentTypeError(msg)
    return number


def run_fuzz(chosen: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Compare on random workloads; 1 if there is a difference."""
    drawn = random_workloads(chosen.system, number=chosen.workloads, seed=chosen.seed)
    with open_worker(chosen.system, environment=chosen.environment) as worker:
        report = fuzz(played_by_model, played_live(worker), drawn)
    say(f"{chosen.system}: {report}")
    return int(report.differing > 0)


def run_record(chosen: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Record random workloads."""
    folder = Path(chosen.folder)
    # Now, since what cannot be written should not be played first.
    folder.mkdir(parents=True, exist_ok=True)
    drawn = random_workloads(chosen.system, number=TO_CHOOSE_FROM, seed=chosen.seed)
    with open_worker(chosen.system, environment=chosen.environment) as worker:
        recording = recorded(chosen.system, played_live(worker), drawn, python=worker.python)
    path = folder / f"{chosen.system.replace('==', '-')}.json"
    write_recording(recording, path)
    say(f"{path}: {len(recording.runs)} runs, {path.stat().st_size} bytes")
    return 0
