"""A small CSV file as columns of checked numbers; errors name file, line and column."""

import csv
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from queueing_llm._validate import Domain
from queueing_llm.errors import InvalidArgument


@final
@dataclass(frozen=True, slots=True)
class MeasuredTable:
    """The rows of a file as text, with the line in which each stands.

    Parameters
    ----------
    file : Path
        The file.
    header : tuple of str
        Its column names, in order.
    rows : tuple of (int, tuple of str)
        Line number, counting the header as 1, and one cell per column.
    """

    file: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def text(self, column: str) -> list[str]:
        """Return the cells of a column."""
        place = self._place(column)
        return [cells[place] for _, cells in self.rows]

    def numbers(self, column: str, domain: Domain) -> np.ndarray:
        """Return the cells of a column as float64, each in its domain."""
        place = self._place(column)
        try:
            values = np.fromiter((float(cells[place]) for _, cells in self.rows), float)
        except ValueError:
            values = np.array([math.nan])
        if not np.all(_holds(values, domain)):
            for line, cells in self.rows:
                _require_number(cells[place], domain, f"{self.file}, line {line}: {column}")
        return values

    def where(self, chosen: np.ndarray) -> "MeasuredTable":
        """Return the rows that a mask chooses."""
        rows = zip(self.rows, chosen, strict=True)
        return MeasuredTable(self.file, self.header, tuple(row for row, keep in rows if keep))

    def _place(self, column: str) -> int:
        if column not in self.header:
            some = ", ".join(map(repr, self.header[:12]))
            msg = f"{self.file} has no column {column!r}; its columns are {some}."
            raise InvalidArgument(msg)
        return self.header.index(column)


def measured_file(path: object) -> Path:
    """Return the path of a file or folder that exists."""
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        msg = f"path must be that of a file or folder of measurements, got path={path!r}."
        raise InvalidArgument(msg)
    file = Path(path)
    if not file.exists():
        msg = (
            f"path must be a file or folder of measurements, and {str(file)!r} does not exist."
        )
        raise InvalidArgument(msg)
    return file


def short_name(place: Path, *, parts: int = 2) -> str:
    """Return a path by its last parts, for people."""
    return "/".join(place.resolve().parts[-parts:])


def files_of(folder: Path) -> set[str]:
    """Return the names in a folder."""
    try:
        return {file.name for file in folder.iterdir()}
    except OSError as error:
        msg = (
            f"{str(folder)!r} cannot be read: {error.strerror}; a readable folder is accepted."
        )
        raise InvalidArgument(msg) from None


def text_of(file: Path) -> str:
    """Return the text of a file, which must not be empty."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    except OSError as error:
        msg = f"{str(file)!r} cannot be read: {error.strerror}; a text file is accepted."
        raise InvalidArgument(msg) from None
    if "\0" in text:
        msg = f"{file} is not a text file in UTF-8; decompress or convert it first."
        raise InvalidArgument(msg)
    if not text.strip():
        msg = f"{file} is empty: at least one measurement is needed."
        raise InvalidArgument(msg)
    return text


def csv_table(file: Path) -> MeasuredTable:
    """Return the table in a comma-separated file with a header and at least one row."""
    lines = _csv_lines(file)
    _, names = next(lines)
    header = tuple(name.strip() for name in names)
    rows = []
    for line, cells in lines:
        if len(cells) != len(header):
            msg = (
                f"{file}, line {line}: {len(cells)} fields, got "
                f"{','.join(cells)[:60]!r}; {len(header)} are accepted, as in the header."
            )
            raise InvalidArgument(msg)
        rows.append((line, tuple(cell.strip() for cell in cells)))
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled or not rows:
        what = f"has more than one column {doubled[0]!r}" if doubled else "holds no row"
        msg = f"{file} {what}; a header of distinct names and rows below it are accepted."
        raise InvalidArgument(msg)
    return MeasuredTable(file, header, tuple(rows))


def _csv_lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line that is not empty."""
    reader = csv.reader(text_of(file).splitlines())
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        msg = f"{file}, line {reader.line_num}: not comma-separated values: {error}."
        raise InvalidArgument(msg) from None


def json_table(file: Path) -> MeasuredTable:
    """Return the table in a file with one JSON object a line, whose keys are the columns."""
    header: dict[str, None] = {}
    records = []
    for line, text in enumerate(text_of(file).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            msg = f"{file}, line {line}: one JSON object a line is accepted, got {text[:60]!r}."
            raise InvalidArgument(msg)
        header.update(dict.fromkeys(record))
        records.append((line, record))
    rows = []
    for line, record in records:
        # A missing key becomes an empty cell, refused where its column is needed.
        cells = (record.get(name, "") for name in header)
        rows.append((line, tuple(c if isinstance(c, str) else json.dumps(c) for c in cells)))
    return MeasuredTable(file, tuple(header), tuple(rows))


def _holds(values: np.ndarray, domain: Domain) -> np.ndarray:
    """Tell the numbers in a domain; a count such as "16.0" is whole, whatever wrote it."""
    inside = np.isfinite(values) & (values > domain.above)
    inside &= (values >= domain.at_least) & (values <= domain.at_most)
    return inside & (values == np.rint(values)) if domain.integer else inside


def _require_number(cell: str, domain: Domain, where: str) -> None:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not _holds(np.array(value), domain):
        msg = f"{where} must be {domain}, got {cell!r}."
        raise InvalidArgument(msg)
