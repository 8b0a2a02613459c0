"""The entry point: run a command, and turn what goes wrong into one sentence.

Exit status: 0 answered, 1 something the user required does not hold, 2 bad input,
70 a defect of this program, 130 interrupted, 141 nobody reads the output any more.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from queueing_llm.cli._check import check
from queueing_llm.cli._fit import fit
from queueing_llm.cli._list import list_names
from queueing_llm.cli._network import network
from queueing_llm.cli._output import complain
from queueing_llm.cli._region import region
from queueing_llm.cli._reproduce import reproduce
from queueing_llm.cli._simulate import simulate
from queueing_llm.cli._verify import verify
from queueing_llm.errors import ConservationViolated, QueueingLLMError

BAD_INPUT, DEFECT, INTERRUPTED, UNREAD = 2, 70, 130, 141

app = typer.Typer(
    name="queueing-llm",
    help="Decide whether an LLM serving engine keeps up with its load, and how that is known.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("check")(check)
app.command("simulate")(simulate)
app.command("region")(region)
app.command("network")(network)
app.command("verify")(verify)
app.command("fit")(fit)
app.command("reproduce")(reproduce)
app.command("list")(list_names)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"queueing-llm {version('queueing-llm')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda value: _print_version(wanted=value),
            is_eager=True,
            help="Print the version and stop.",
        ),
    ] = False,
) -> None:
    """Take the options that come before a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program name; those of the process by default.

    Returns
    -------
    int
        The exit status.

    Examples
    --------
    >>> from queueing_llm.cli import main
    >>> main(["--version"])
    queueing-llm ...
    0
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        status = typer.main.get_command(app).main(
            arguments, prog_name="queueing-llm", standalone_mode=False
        )
        sys.stdout.flush()
    except ConservationViolated as error:
        return _report_defect(error)
    except QueueingLLMError as error:
        return complain(str(error), status=BAD_INPUT)
    except MemoryError as error:
        return complain(f"there is not enough memory for this: {error}", status=BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # Typer answers a broken pipe with SystemExit.
        _detach_output()
        return UNREAD
    except Exception as error:
        # Typer's usage errors have no common public class in all its versions.
        if hasattr(error, "format_message"):
            return complain(_usage(error), status=BAD_INPUT)
        return _report_defect(error)
    return int(status or 0)


def _usage(error: Any) -> str:
    """Say what is wrong with the arguments, and where the accepted ones are listed."""
    context = getattr(error, "ctx", None)
    path = "queueing-llm" if context is None else context.command_path
    return f"{error.format_message().rstrip('.')}; see {path} --help."


def _report_defect(error: Exception) -> int:
    if os.environ.get("QUEUEING_LLM_DEBUG"):
        traceback.print_exception(error)
    return complain(
        f"this is a defect of queueing-llm, please report it: {type(error).__name__}: {error} "
        "(QUEUEING_LLM_DEBUG=1 shows where).",
        status=DEFECT,
    )


def _detach_output() -> None:
    """Keep the interpreter from complaining again when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
