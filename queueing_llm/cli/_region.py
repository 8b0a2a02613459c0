"""``queueing-llm region``: what token rates an engine can sustain, and at what prices.

``queueing-llm region SCENARIO --json`` prints

.. code-block:: text

    {"scenario": NAME, "trace": TEXT or null, "unit": "tokens/s", "price_unit": "s/token",
     "is_exact": BOOL, "relaxations": [TEXT, ...],
     "vertices": [{"prefill": "p/q", "decode": "p/q",
                   "batch": {"prefill": TOKENS, "decode": TOKENS}}, ...],
     "facets": [{"prices": {"prefill": "p/q", "decode": "p/q"}, "between": [I, J]}, ...],
     "workload": {"arrival_rate", "prefill", "decode", "load", "margin", "largest_rate",
                  "largest_rate_exact", "binding_facet"}}

The origin is the first vertex, the others follow from the prefill axis to the decode axis;
"between" are positions in that list. Rates and prices are fractions, or decimal numbers where
"is_exact" is false. "largest_rate" is the arrival rate above which every policy is unstable,
in requests/s, "largest_rate_exact" the same as a fraction or null; "load" and "margin" are
those of "arrival_rate" against it, and "binding_facet" is the position of its facet.
"""

from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from queueing_llm._validate import Real
from queueing_llm.cli import _options as option
from queueing_llm.cli._output import answers, print_json
from queueing_llm.cli._region_table import print_region
from queueing_llm.scenarios import Scenario
from queueing_llm.stability import Region, stability_region


def region(
    scenario: option.ScenarioName,
    *,
    longest_prompt: Annotated[
        int | None,
        typer.Option(
            parser=option.whole,
            metavar="TOKENS",
            help="Most prompt tokens that one request prefills in a batch. Default: any.",
        ),
    ] = None,
    arrival_rate: option.ArrivalRate = None,
    scale: option.Scale = None,
    prompt_tokens: option.PromptTokens = None,
    output_tokens: option.OutputTokens = None,
    token_budget: option.TokenBudget = None,
    max_batch_size: option.MaxBatchSize = None,
    kv_capacity: option.KVCapacity = None,
    kv_block_size: option.KVBlockSize = None,
    trace: option.TraceName = None,
    trace_format: option.TraceFormat = None,
    skip_bad_rows: option.SkipBadRows = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the region and the load.")
    ] = None,
    as_json: option.AsJson = False,
) -> int:
    """Find the prefill and decode token rates beyond which no policy keeps up."""
    system = option.system(
        scenario,
        arrival_rate=arrival_rate,
        scale=scale,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        token_budget=token_budget,
        max_batch_size=max_batch_size,
        kv_capacity=kv_capacity,
        kv_block_size=kv_block_size,
        trace=trace,
        trace_format=trace_format,
        skip_bad_rows=skip_bad_rows,
    )
    if plot is not None:
        from queueing_llm.plots import check_plot_path

        check_plot_path(plot)
    found = stability_region(system.engine, longest_prompt=longest_prompt)
    record = region_record(found, system)
    if plot is not None:
        from queueing_llm.plots import plot_region

        plot_region(found, system.workload, path=plot, title=_title(system))
    if as_json:
        print_json(record)
    else:
        print_region(answers(), system, found, record["workload"])
    return 0


def region_record(found: Region, system: Scenario) -> dict[str, Any]:
    """Return a region and the load on it under the keys of the schema."""
    return {
        "scenario": system.name,
        "trace": system.trace or None,
        "unit": "tokens/s",
        "price_unit": "s/token",
        "is_exact": found.is_exact,
        "relaxations": list(found.relaxations),
        "vertices": [
            {**_pair(vertex), "batch": {"prefill": batch[0], "decode": batch[1]}}
            for vertex, batch in zip(found.vertices, found.batches, strict=True)
        ],
        "facets": [
            {"prices": _pair(facet.prices), "between": list(facet.between)}
            for facet in found.facets
        ],
        "workload": _load_record(found, system),
    }


def _load_record(found: Region, system: Scenario) -> dict[str, Any]:
    rate, moments = system.workload.arrival_rate, system.workload.moments
    tokens = moments.prompt, system.engine.decode_steps(moments.output)
    largest = found.largest_rate(system.workload)
    return {
        "arrival_rate": rate,
        "prefill": rate * tokens[0],
        "decode": rate * tokens[1],
        "load": rate / largest,
        "margin": 1 - rate / largest,
        "largest_rate": largest,
        "largest_rate_exact": str(largest) if isinstance(largest, Fraction) else None,
        "binding_facet": found.facets.index(found.binding_facet(*tokens)),
    }


def _pair(values: tuple[Real, Real]) -> dict[str, str]:
    return {"prefill": str(values[0]), "decode": str(values[1])}


def _title(system: Scenario) -> str:
    return f"{system.name}, {system.trace}" if system.trace else system.name
