"""``python -m queueing_llm.verify.adapters``: install real schedulers, and drive them."""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from queueing_llm.errors import QueueingLLMError
from queueing_llm.verify.adapters._build import build_environment
from queueing_llm.verify.adapters._environment import INSTALLATIONS
from queueing_llm.verify.adapters._fuzz_command import add_commands


def main(arguments: list[str]) -> int:
    """Do what the arguments say; 0 if it is done, 1 for a difference, 2 if it failed."""
    chosen = parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen, say))
    except (QueueingLLMError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def say(text: str) -> None:
    """Print a line at once, as some steps take minutes."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """Return what reads the arguments."""
    top = argparse.ArgumentParser(prog="python -m queueing_llm.verify.adapters")
    commands: Any = top.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="install systems into a folder, for CPUs only")
    build.add_argument("folder", help="is made if need be; about 3 GB for all systems")
    build.add_argument(
        "--system",
        action="append",
        metavar="NAME",
        help=f"one of {', '.join(INSTALLATIONS)}; may be repeated (default: all)",
    )
    build.add_argument("--python", default=sys.executable, help="Python 3.11 to start from")
    build.add_argument("--torch-index", metavar="URL", help="where pip finds a CPU PyTorch")
    build.set_defaults(run=run_build)
    add_commands(commands)
    return top


def run_build(chosen: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Install the systems that were chosen."""
    build_environment(
        chosen.folder,
        systems=chosen.system or tuple(INSTALLATIONS),
        python=chosen.python,
        torch_index=chosen.torch_index,
        say=say,
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
