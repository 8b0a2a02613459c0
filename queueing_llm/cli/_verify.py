"""``queueing-llm verify``: which contracts a policy keeps, and what breaks the others."""

import importlib.util
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from queueing_llm.cli import _options as option
from queueing_llm.cli._output import answers, complain, print_json
from queueing_llm.cli._verify_table import (
    print_replays,
    print_report,
    replay_record,
    report_record,
)
from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.model import Engine
from queueing_llm.policies import Policy, policy_named
from queueing_llm.policies.field import SYSTEMS, FieldSystem, system_named
from queueing_llm.steptime import AffineStepTime
from queueing_llm.verify import (
    EFFORTS,
    Finding,
    Outcome,
    PolicyReport,
    check_policy,
    contract_named,
    page,
    replay,
    save_counterexamples,
)

NOT_AS_REQUIRED = 1


def _effort(text: str) -> str:
    if text.lower() not in EFFORTS:
        msg = f"{text!r} is no effort: {nearest(text.lower(), EFFORTS)}."
        raise typer.BadParameter(msg)
    return text.lower()


def verify(
    context: typer.Context,
    policy: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE:FUNCTION",
            help="A built-in policy, a scheduler of the field such as vllm==0.33.0, or a "
            "Python file and the function or object in it.",
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
    kv_block_size: Annotated[
        int | None,
        typer.Option(parser=option.whole, metavar="TOKENS", help="With --kv-capacity only."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the findings as an HTML page, too."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write each counterexample to a file for --replay."
        ),
    ] = None,
    replay_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--replay",
            metavar="FILE",
            help="Only check whether a saved counterexample is broken still; repeatable.",
        ),
    ] = None,
    python: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Ask the code of the system itself, not its model: a folder that `python -m "
            "queueing_llm.verify.adapters build` made, or an interpreter that has the system.",
        ),
    ] = None,
    seed: option.Seed = 0,
    as_json: option.AsJson = False,
) -> int:
    """Look for states in which a policy breaks a contract, and show the smallest."""
    if replay_file:
        _check_alone(context)
        with _player(policy, python=python) as player:
            return _replay(player, policy, replay_file, as_json=as_json)
    if report is not None and not report.parent.is_dir():
        msg = f"report {str(report)!r} cannot be written: its folder does not exist."
        raise InvalidArgument(msg)
    engine = _engine(
        token_budget,
        max_batch_size=max_batch_size,
        kv_capacity=kv_capacity,
        kv_block_size=kv_block_size,
    )
    chosen = [contract_named(name) for name in contract] if contract else None
    effort_word: Any = effort
    # What the file and the policy print must not mix with the answer.
    with redirect_stdout(sys.stderr), _player(policy, python=python) as player:
        found = check_policy(
            player, engine=engine, contracts=chosen, effort=effort_word, seed=seed
        )
    saved = [str(path) for path in save_counterexamples(found, save)] if save else []
    if report is not None:
        _write(report, page(found, command=_command(context)))
    if as_json:
        asked = {"effort": effort, "seed": seed, "saved": saved}
        print_json({**report_record(found), **asked})
    else:
        print_report(answers(), found, saved=saved)
    sentence = _complaint(found, is_required=bool(contract))
    return complain(sentence, status=NOT_AS_REQUIRED) if sentence else 0


@contextmanager
def _player(text: str, *, python: Path | None) -> Iterator[Policy | FieldSystem]:
    """Lend what is to be verified; the code of a system lives as long as its process."""
    player = loaded(text)
    if python is None:
        yield player
        return
    if not isinstance(player, FieldSystem):
        msg = f"--python is for systems such as vllm==0.33.0, got {text!r}, which runs here."
        raise InvalidArgument(msg)
    from queueing_llm.verify.adapters import live_system, open_worker

    name = player.name.partition(":")[0]
    with open_worker(name, environment=python) as worker:
        yield live_system(worker, model=player.name)


def _replay(
    player: Policy | FieldSystem, policy: str, files: Sequence[Path], *, as_json: bool
) -> int:
    """Play saved counterexamples again; each must be seen to be kept."""
    with redirect_stdout(sys.stderr):
        replayed = {str(file): replay(file, player) for file in files}
    if as_json:
        print_json(replay_record(policy, replayed))
    else:
        print_replays(answers(), replayed)
    sentence = _complaint_about_files(policy, replayed)
    return complain(sentence, status=NOT_AS_REQUIRED) if sentence else 0


def _complaint_about_files(policy: str, replayed: Mapping[str, Finding]) -> str:
    """Return which files are not seen to be kept."""
    named = {
        outcome: ", ".join(file for file, found in replayed.items() if found.outcome is outcome)
        for outcome in Outcome
    }
    if named[Outcome.VIOLATED]:
        return f"{policy} still breaks the contract of {named[Outcome.VIOLATED]}."
    if named[Outcome.UNDECIDED]:
        return f"whether {policy} still breaks {named[Outcome.UNDECIDED]} is undecided."
    return ""


def _typed(context: typer.Context) -> dict[str, Any]:
    """Return the options that were typed, by the name of their parameter."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = {
        name for name, source in sources.items() if source and source.name == "COMMANDLINE"
    }
    return {name: value for name, value in context.params.items() if name in typed}


def _check_alone(context: typer.Context) -> None:
    """Refuse options that say what to look for, where nothing is looked for."""
    kept = ("policy", "replay_file", "python", "as_json")
    others = [name for name in _typed(context) if name not in kept]
    if others:
        named = ", ".join(map(_option, others))
        msg = f"--replay plays what is in its files and takes no other option, got {named}."
        raise InvalidArgument(msg)


def _command(context: typer.Context) -> str:
    """Return the command that was typed, without what says where the answer goes."""
    typed = _typed(context)
    words = ["queueing-llm", "verify", typed.pop("policy")]
    for name, value in typed.items():
        if name not in ("report", "save", "as_json"):
            values = value if isinstance(value, list | tuple) else [value]
            words += [word for entry in values for word in (_option(name), str(entry))]
    return shlex.join(words)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"report {str(path)!r} cannot be written: {error.strerror}."
        raise InvalidArgument(msg) from error


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


def loaded(text: str) -> Policy | FieldSystem:
    """Return the policy or system of that name, or the policy that a Python file holds.

    Raises
    ------
    InvalidArgument
        If there is no such policy, system, file or function, or the file fails.
    """
    path, _, name = text.rpartition(":")
    if not path.endswith(".py"):
        if text.endswith(".py"):
            msg = f"{text!r} is a file; accepted: FILE:FUNCTION, such as {text}:my_policy."
            raise InvalidArgument(msg)
        stem = text.strip().lower().partition(":")[0]
        systems = {name.partition(":")[0] for name in SYSTEMS}
        return system_named(text) if "==" in text or stem in systems else policy_named(text)
    found: Any = getattr(_module(Path(path)), name, None)
    if not callable(found) and not isinstance(found, FieldSystem):
        msg = (
            f"{path!r} has no policy {name!r}; accepted: the name of a function in it, or of "
            "a FieldSystem."
        )
        raise InvalidArgument(msg)
    player: Policy | FieldSystem = found
    return player


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


def _engine(token_budget: int | None, **others: int | None) -> Engine | None:
    """Return the engine with these limits, or none if none is given."""
    limits: dict[str, Any] = {
        name: value for name, value in others.items() if value is not None
    }
    if token_budget is None and limits:
        named = ", ".join(map(_option, limits))
        msg = f"other limits need --token-budget, got {named} without it."
        raise InvalidArgument(msg)
    if token_budget is None:
        return None
    return Engine(step_time=AffineStepTime(1, 0), token_budget=token_budget, **limits)
