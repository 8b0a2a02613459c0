"""Make the packaged tables anew from public measurements."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from queueing_llm.fitting.tables._recipes import SOURCES, document


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one JSON file for each source.

    Parameters
    ----------
    arguments : sequence of str or None
        ``--data DIR`` with the folders of the sources, ``--to DIR`` to write to; None reads
        the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m queueing_llm.fitting.tables")
    parser.add_argument("--data", type=Path, required=True, help="folder of the measurements")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent, help="where to write")
    options = parser.parse_args(arguments)
    for name, source in SOURCES.items():
        text = json.dumps(document(source, options.data), indent=1)
        (options.to / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
