"""Fitted laws as a table, and why one is preferred."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from queueing_llm.cli._fit_findings import Findings
from queueing_llm.cli._text import error_text, percent
from queueing_llm.fitting import Coefficient, StepSamples, StepTimeFit

SCALES = {
    "s": (1e3, "ms"),
    "s/block": (1e3, "ms/block"),
    "s/token": (1e6, "µs/token"),
}
FINE = 1e-7
"""Seconds below which a time per token is printed in nanoseconds."""

UNITS = (
    "errors are relative, |fitted / measured - 1|; held out: mean on batches that were not "
    "fitted, and what nine in ten do not exceed"
)


def print_fits(console: Console, found: Findings) -> None:
    """Print what was measured, the laws with their errors, and the law to use."""
    first = found.fits[0]
    console.print(Text(first.samples.source or "measured steps", style="bold"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    grid.add_row("samples", Text(samples_text(first.samples)))
    grid.add_row("fit", Text(f"least squares of {first.objective} errors"))
    grid.add_row("units", Text(UNITS))
    console.print(grid)
    console.print()
    console.print(_table(found))
    console.print()
    notes = Table.grid(padding=(0, 2))
    notes.add_column(style="dim")
    notes.add_column()
    notes.add_row("preferred", Text(found.preferred or "none", style="bold"))
    notes.add_row("", Text(_sentence(found.reason)))
    notes.add_row("intervals", Text(_sentence(first.interval_method)))
    for fit in found.fits:
        for note in fit.notes:
            notes.add_row(fit.law, Text(_sentence(note)))
    console.print(notes)


def samples_text(samples: StepSamples) -> str:
    """Return how many batches were measured, and how far they reach."""
    kind = "mean operating points" if samples.is_averaged else "batches"
    text = f"{len(samples):,} {kind} of {_count(samples.tokens.min())} to "
    text += f"{_count(samples.tokens.max())} tokens"
    if not samples.decode_tokens.any():
        return f"{text}, counted together"
    most = f"{_count(samples.decode_tokens.max())} decodes"
    return f"{text}, up to {most} and {_count(samples.kv_tokens.max())} KV tokens read"


def coefficient_text(coefficient: Coefficient) -> str:
    """Return a coefficient with its interval, in milliseconds or less."""
    scale, unit = SCALES.get(coefficient.unit, (1, coefficient.unit))
    if coefficient.unit == "s/token" and abs(coefficient.value) < FINE:
        scale, unit = 1e9, "ns/token"
    value = f"{scale * coefficient.value:,.4g}"
    if coefficient.low is None or coefficient.high is None:
        return f"{coefficient.name} {value} {unit}"
    half = scale * (coefficient.high - coefficient.low) / 2
    return f"{coefficient.name} {value} ± {error_text(half)} {unit}"


def _table(found: Findings) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("law")
    table.add_column("coefficients")
    for heading in ("R2", "mean", "worst", "held out"):
        table.add_column(heading, justify="right", no_wrap=True)
    for fit, error, quantile in zip(found.fits, found.errors, found.quantiles, strict=True):
        table.add_row(*_row(fit), _pair(error, quantile))
    if found.table_error is not None:
        table.add_row("table", "between the samples", "", "", "", percent(found.table_error))
    for law, reason in found.refused:
        table.add_row(law, Text(f"refused: {reason}", style="yellow"))
    return table


def _row(fit: StepTimeFit) -> tuple[str, Text, str, str, str]:
    return (
        fit.law,
        Text("\n".join(map(coefficient_text, fit.coefficients))),
        "none" if fit.r_squared is None else f"{fit.r_squared:.4f}",
        percent(fit.mean_relative_error),
        percent(fit.worst_relative_error),
    )


def _pair(error: float | None, quantile: float | None) -> str:
    return "unknown" if error is None else f"{percent(error)}\n{percent(quantile)}"


def _count(tokens: float) -> str:
    """Return a count, a mean with one decimal where that matters."""
    return f"{tokens:,.0f}" if tokens >= 100 or tokens == round(tokens) else f"{tokens:.1f}"


def _sentence(text: str) -> str:
    return text.rstrip(".") + "."
