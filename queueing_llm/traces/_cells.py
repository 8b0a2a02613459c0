"""Text cells to exact integers, with the reason why a cell is malformed.

Every function here builds polars expressions, so that a million rows cost about a second.
Times become integer nanoseconds before any floating-point number is formed.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

MOST_TOKENS = 10**9
"""Largest accepted length [tokens]: a product of two lengths stays within int64."""

NANOSECONDS = {"s": 9, "ms": 6}
"""Decimal places between one unit of a clock and a nanosecond."""

# [0-9] and not \d, which in Rust's patterns also means the digits of other scripts.
_DATE = (
    r"^(?P<date>(?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2})[ T]"
    r"(?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9]):(?P<second>[0-5][0-9])"
    r"(?:\.(?P<fraction>[0-9]{1,9}))?\s*"
    r"(?:Z|UTC|(?P<sign>[+-])(?P<zone_hour>0[0-9]|1[0-4]):?(?P<zone_minute>[0-5][0-9]))?$"
)
_WHOLE = r"^\+?([0-9]+)(?:\.0*)?$"
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


def accepted_tokens() -> str:
    """Say which token counts are accepted."""
    return f"a whole number of tokens from 1 to {MOST_TOKENS}"


def accepted_time(clock: str) -> str:
    """Say which arrival times are accepted."""
    if clock == "date":
        return (
            "a time such as 2023-11-16 18:15:46.6805900, with 0 to 9 decimals and an "
            "optional zone such as +00:00, not before that of an earlier row"
        )
    unit = {"s": "seconds", "ms": "milliseconds"}[clock]
    return f"a number of {unit}, at least 0 and not below that of an earlier row"


def tokens(cell: "pl.Expr") -> "pl.Expr":
    """Return the token count in each cell, null where it is no whole number."""
    import polars as pl

    return cell.str.extract(_WHOLE).cast(pl.Int64, strict=False)


def tokens_fault(cell: "pl.Expr", count: "pl.Expr", *, role: str) -> "pl.Expr":
    """Return why a cell is no length of a served request, null where it is one."""
    import polars as pl

    small = (count <= MOST_TOKENS).fill_null(value=False)
    return (
        pl.when(small & (count > 0))
        .then(pl.lit(None, pl.String))
        .when(cell.is_null() | (cell == ""))
        .then(pl.lit("missing value"))
        .when(~cell.str.contains(_NUMBER))
        .then(pl.lit("not a number"))
        .when(cell.str.contains(r"^-.*[1-9]"))
        .then(pl.lit("negative"))
        .when(cell.str.contains(r"^-?[0.]*$"))
        .then(pl.lit(f"zero {role} tokens"))
        .when(cell.str.contains(_WHOLE))
        .then(pl.lit("too large"))
        .otherwise(pl.lit("not a whole number"))
    )


def time(cell: "pl.Expr", *, clock: str) -> "pl.Expr":
    """Return the arrival time in each cell [ns], null where there is none."""
    return _date(cell) if clock == "date" else _seconds(cell, places=NANOSECONDS[clock])


def time_fault(cell: "pl.Expr", nanoseconds: "pl.Expr", *, clock: str) -> "pl.Expr":
    """Return why a cell is no time, null where it is one."""
    import polars as pl

    negative = cell.str.contains(_NUMBER) & cell.str.contains(r"^-.*[1-9]")
    return (
        pl.when(nanoseconds.is_not_null())
        .then(pl.lit(None, pl.String))
        .when(cell.is_null() | (cell == ""))
        .then(pl.lit("missing value"))
        .when(negative & (clock != "date"))
        .then(pl.lit("negative"))
        .otherwise(pl.lit("not a time"))
    )


def _date(cell: "pl.Expr") -> "pl.Expr":
    """Return nanoseconds since 1970 in UTC; a time without a zone is UTC."""
    import polars as pl

    parts = cell.str.extract_groups(_DATE).struct

    def whole(name: str) -> pl.Expr:
        return parts.field(name).cast(pl.Int64)

    day = parts.field("date").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int64)
    east = pl.when(parts.field("sign") == "-").then(-60).otherwise(60)
    zone = east * (60 * whole("zone_hour") + whole("zone_minute"))
    clock = 3600 * whole("hour") + 60 * whole("minute") + whole("second")
    fraction = parts.field("fraction").fill_null("0").str.pad_end(9, "0").cast(pl.Int64)
    return (86_400 * day + clock - zone.fill_null(0)) * 10**9 + fraction


def _seconds(cell: "pl.Expr", *, places: int) -> "pl.Expr":
    """Return nanoseconds, digit by digit; only exponents pass through a float."""
    import polars as pl

    whole = cell.str.extract(r"^\+?([0-9]+)(?:\.[0-9]*)?$")
    fraction = cell.str.extract(r"^\+?[0-9]+\.([0-9]*)$").fill_null("")
    digits = whole + fraction.str.pad_end(places, "0").str.slice(0, places)
    scientific = cell.str.extract(r"^\+?([0-9]+\.?[0-9]*[eE][+-]?[0-9]+)$").cast(pl.Float64)
    rounded = (scientific * 10.0**places).round(0)
    return digits.cast(pl.Int64, strict=False).fill_null(rounded.cast(pl.Int64, strict=False))
