"""Pictures and tables of a figure, as files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from queueing_llm.errors import InvalidArgument
from queueing_llm.reproduce._computed import Computed
from queueing_llm.reproduce._paper import Paper, PaperFigure
from queueing_llm.reproduce._words import words

PICTURES = ("png", "svg")


def write_figure(
    paper: Paper, figure: PaperFigure, computed: Computed, out: Path
) -> tuple[str, ...]:
    """Write the pictures and tables of a figure, and return their names below ``out``.

    Raises
    ------
    InvalidArgument
        If the folder cannot be written.
    MissingDependency
        If Matplotlib is not installed.
    """
    from queueing_llm.plots import save

    folder = made_folder(out / paper.name)
    written = []
    plot = getattr(paper.module_of(figure), "plot", None)
    if plot is not None:
        picture = plot(computed)
        for suffix in PICTURES:
            written.append(folder / f"{figure.module}.{suffix}")
            save(picture, written[-1])
    for name, columns in computed.tables.items():
        written.append(folder / f"{figure.module}.{name}.csv")
        _write_table(columns, written[-1])
    return tuple(file.relative_to(out).as_posix() for file in written)


def made_folder(path: Path) -> Path:
    """Return a folder, made if it was not there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"folder {str(path)!r} cannot be made: {error.strerror}."
        raise InvalidArgument(msg) from None
    if not os.access(path, os.W_OK):
        msg = f"folder {str(path)!r} cannot be written: a writable folder is accepted."
        raise InvalidArgument(msg)
    return path


def _write_table(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    import polars as pl

    cells = {name: [_cell(cell) for cell in column] for name, column in columns.items()}
    pl.DataFrame(cells, strict=False).write_csv(path)


def _cell(value: Any) -> Any:
    """Return what CSV can hold: numbers as they are, everything else as words."""
    plain = value.item() if hasattr(value, "item") else value
    return plain if isinstance(plain, bool | int | float | str | None) else words(plain)
