"""What the computation behind a figure returns: values that claims are about, and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias, final

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.simulate import Estimate

Value: TypeAlias = bool | int | float | Fraction | str | Estimate | tuple[Any, ...]
"""A number (exact if it is an ``int`` or a ``Fraction``), a word, an estimate, or several."""


@final
@dataclass(frozen=True, slots=True)
class Computed:
    """What ``compute()`` of a figure found: the data of its plot, and nothing drawn yet.

    Parameters
    ----------
    values : mapping of str to value
        What claims are about, by name: numbers, words, truth values,
        :class:`~queueing_llm.simulate.Estimate`, or tuples of them.
    tables : mapping of str to mapping of str to sequence, optional
        Columns by table; each table becomes one CSV file. Names of columns carry the unit.

    Raises
    ------
    InvalidArgument
        If a table has columns of different lengths.

    Examples
    --------
    >>> computed = Computed({"slope": 2.5}, {"curve": {"time_s": [0, 1], "tokens": [0, 3]}})
    >>> computed["slope"]
    2.5
    """

    values: Mapping[str, Value]
    tables: Mapping[str, Mapping[str, Sequence[Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, columns in self.tables.items():
            lengths = {column: len(cells) for column, cells in columns.items()}
            if len(set(lengths.values())) > 1:
                msg = f"table {name!r} must have columns of one length, got {lengths}."
                raise InvalidArgument(msg)

    def __getitem__(self, name: str) -> Value:
        """Return the value of that name."""
        if name not in self.values:
            msg = f"value {name!r} is not computed: {nearest(name, self.values)}."
            raise InvalidArgument(msg)
        return self.values[name]
