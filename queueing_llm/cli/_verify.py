"""``queueing-llm verify``: which contracts a policy keeps, and what breaks the others."""

import importlib.util
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from queueing_llm.cli import _options as option
from queueing_llm.cli._output import answers, complain, print_json
from queueing_llm.cli._verify_table import print_report, report_record
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import Engine
from queueing_llm.policies import Policy, policy_named
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify import (
    EFFORTS,
    Outcome,
    PolicyReport,
    check_policy,
    contract_named,
)

NOT_AS_REQUIRED = 1


def _effort(text: str) -> str:
    if text.lower() not in EFFORTS:
        msg = f"{text!r} is no effort: {nearest(text.lower(), EFFORTS)}."
        raise typer.BadParameter(msg)
    return text.lower()


def verify(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE:FUNCTION",
            help="A built-in policy, or a Python file and the function or object in it.",
            show_default=False,
        ),
    ],
    *,
    contract: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Contract to check; repeatable, and all of them must hold. Default: all.",
        ),
    ] = None,
    effort: Annotated[
        str,
        typer.Option(parser=_effort, metavar="WORD", help="One of " + ", ".join(EFFORTS) + "."),
    ] = "quick",
    token_budget: Annotated[
        int | None,
        typer.Option(
            parser=option.whole, metavar="TOKENS", help="Default: small ones are drawn."
        ),
    ] = None,
    max_batch_size: Annotated[
        int | None,
        typer.Option(parser=option.whole, metavar="REQUESTS", help="With --token-budget only."),
    ] = None,
    kv_capacity: Annotated[
        int | None,
        typer.Option(parser=option.whole, metavar="TOKENS", help="With --token-budget only."),
    ] = None,
    seed: option.Seed = 0,
    as_json: option.AsJson = False,
) -> int:
    """Look for states in which a policy breaks a contract, and show the smallest."""
    engine = _engine(token_budget, max_batch_size=max_batch_size, kv_capacity=kv_capacity)
    chosen = [contract_named(name) for name in contract] if contract else None
    effort_word: Any = effort
    # What the file and the policy print must not mix with the answer.
    with redirect_stdout(sys.stderr):
        report = check_policy(
            loaded(policy), engine=engine, contracts=chosen, effort=effort_word, seed=seed
        )
    if as_json:
        print_json({**report_record(report), "effort": effort, "seed": seed})
    else:
        print_report(answers(), report)
    sentence = _complaint(report, is_required=bool(contract))
    return complain(sentence, status=NOT_AS_REQUIRED) if sentence else 0


def _complaint(report: PolicyReport, *, is_required: bool) -> str:
    """Return what is not as required; a contract that is asked for must be seen to hold."""
    broken = report.violated if is_required else report.broken_needs
    if broken:
        why = "" if is_required else ", which throughput-optimality needs"
        return f"{report.policy} violates {', '.join(broken)}{why}."
    unseen = [f.contract.name for f in report.findings if f.outcome is Outcome.UNDECIDED]
    if is_required and unseen:
        return f"whether {report.policy} keeps {', '.join(unseen)} is undecided."
    return ""


def loaded(text: str) -> Policy:
    """Return the policy of that name, or the one that a Python file holds.

    Raises
    ------
    InvalidArgument
        If there is no such policy, file or function, or the file fails.
    """
    path, _, name = text.rpartition(":")
    if not path.endswith(".py"):
        if text.endswith(".py"):
            msg = f"{text!r} is a file; accepted: FILE:FUNCTION, such as {text}:my_policy."
            raise InvalidArgument(msg)
        return policy_named(text)
    found: Any = getattr(_module(Path(path)), name, None)
    if not callable(found):
        msg = f"{path!r} has no policy {name!r}; accepted: the name of a function in it."
        raise InvalidArgument(msg)
    policy: Policy = found
    return policy


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        msg = f"there is no file {str(path)!r}; accepted: FILE:FUNCTION or a policy's name."
        raise InvalidArgument(msg)
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up while the file is executed.
    sys.modules[path.stem] = sys.modules.get(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        msg = f"{str(path)!r} cannot be run: {type(error).__name__}: {error}."
        raise InvalidArgument(msg) from error
    return module


def _engine(
    token_budget: int | None, *, max_batch_size: int | None, kv_capacity: int | None
) -> Engine | None:
    if token_budget is None:
        if max_batch_size is None and kv_capacity is None:
            return None
        msg = "--max-batch-size and --kv-capacity need --token-budget, got none."
        raise InvalidArgument(msg)
    return Engine(
        step_time=AffineStepTime(1, 0),
        token_budget=token_budget,
        max_batch_size=max_batch_size,
        kv_capacity=kv_capacity,
    )
