"""Write docs/findings.md: which contracts the schedulers of serving engines keep.

``python docs/findings.py`` searches (half an hour on two cores), keeps what it found in
``docs/findings.json`` and writes the page; ``python docs/findings.py --page`` writes the page
from what was found before. Nothing on the page is typed by hand but the sentences that frame
it: every mark, picture and number comes from a play.
"""

import json
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cases

import queueing_llm as ql
from queueing_llm.policies.field import SYSTEMS
from queueing_llm.verify import (
    CONTRACTS,
    Arrival,
    Counterexample,
    Outcome,
    Trial,
    check_policy,
    play,
)

HERE = Path(__file__).resolve().parent
FOUND, PAGE = HERE / "findings.json", HERE / "findings.md"
EFFORT, SEED = "thorough", 0
MARKS = {"HOLDS": "✓", "VIOLATED": "**✗**", "UNDECIDED": "–"}

FAMILIES = {
    "vLLM 0.33.0": ("vllm==0.33.0", ":long-prefill", ":whole-prompts", ":priority"),
    "vLLM 0.11.2": ("vllm==0.11.2", ":long-prefill", ":whole-prompts"),
    "vLLM 0.6.3": ("vllm==0.6.3", ":chunked"),
    "SGLang 0.5.6": ("sglang==0.5.6", ":mixed"),
    "Sarathi-Serve at 96f9911": (
        "sarathi-serve",
        ":vllm",
        ":orca",
        ":faster-transformer",
        ":simple-chunking",
    ),
    "vidur at 7d47513": (
        "vidur:sarathi",
        "vidur:vllm",
        "vidur:orca",
        "vidur:faster-transformer",
        "vidur:lightllm",
    ),
    "As read, not driven": (
        "tensorrt-llm",
        ":chunked",
        ":max-utilization",
        "tgi==3",
        "orca==osdi22",
        "static-batching",
    ),
}
"""What stands side by side; a name that begins with a colon goes on from the one before."""

TEXTS = tomllib.loads((HERE / "findings.toml").read_text(encoding="utf-8"))
MEANINGS = TEXTS["meanings"]


def columns() -> dict[str, tuple[str, ...]]:
    """Return the systems of each family by their full names."""
    full = {}
    for family, names in FAMILIES.items():
        whole, stem = [], ""
        for name in names:
            stem = stem if name.startswith(":") else name
            whole.append(stem + name if name.startswith(":") else name)
        full[family] = tuple(whole)
    return full


def found_about(name: str) -> dict[str, dict[str, Any]]:
    """Return what a search finds out about a system, contract by contract, as plain data."""
    report = check_policy(SYSTEMS[name], effort=EFFORT, seed=SEED)
    found = {}
    for finding in report.findings:
        entry: dict[str, Any] = {"outcome": finding.outcome.name, "basis": finding.basis}
        if finding.counterexample is not None:
            engine = finding.counterexample.trial.engine
            entry["engine"] = {
                limit: getattr(engine, limit)
                for limit in ("token_budget", "max_batch_size", "kv_capacity", "kv_block_size")
            }
            arrivals = finding.counterexample.trial.arrivals
            entry["arrivals"] = [list(asdict(arrival).values()) for arrival in arrivals]
        found[finding.contract.name] = entry
    return found


def counterexample(name: str, contract: str, entry: dict[str, Any]) -> Counterexample:
    """Return a counterexample, played again.

    Raises
    ------
    ValueError
        If the requests do not break the contract, or not as it was found.
    """
    engine = ql.Engine(step_time=ql.AffineStepTime(1, 0), **entry["engine"])
    trial = Trial(engine, tuple(Arrival(*row) for row in entry["arrivals"]))
    played = play(SYSTEMS[name], trial)
    breach = CONTRACTS[contract].first_breach(SYSTEMS[name], played)
    if breach is None or breach[1] != entry["basis"]:
        msg = f"{name} breaks {contract} with {breach}, not with {entry['basis']!r}"
        raise ValueError(msg)
    shown = type(played)(
        played.trial, played.decisions[: breach[0] + 1], played.ending, played.remembers
    )
    return Counterexample(shown, breach[1])


def page(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Return the page about what was found."""
    plays = 3000
    parts = [TEXTS["preface"].format(plays=plays, budgets="1 to 24")]
    parts += [f"{number}. {case()}" for number, case in enumerate(cases.CASES, start=1)]
    parts.append("")
    for family, names in columns().items():
        parts += [f"## {family}\n", _table(names, found), ""]
        parts += [_section(name, found[name]) for name in names]
    return "\n".join(parts).rstrip() + "\n"


def _table(names: tuple[str, ...], found: dict[str, dict[str, dict[str, Any]]]) -> str:
    head = ["contract", *(f"`{name}`" for name in names)]
    rows = [head, ["---", *[":-:"] * len(names)]]
    for contract, known in CONTRACTS.items():
        title = f"**{contract}**" if known.is_needed else contract
        rows.append([title, *(MARKS[found[name][contract]["outcome"]] for name in names)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _section(name: str, entries: dict[str, dict[str, Any]]) -> str:
    lines = [f"### `{name}`\n", f"Known by: {SYSTEMS[name].known_by}.\n"]
    broken = [c for c, entry in entries.items() if entry["outcome"] == Outcome.VIOLATED.name]
    for contract in broken:
        found = counterexample(name, contract, entries[contract])
        lines += [
            f"<details><summary><b>{contract}</b>: {found.sentence}</summary>\n",
            f"{MEANINGS[contract].strip()}\n",
            f"```text\n{_engine_of(found)}\n{found.timeline()}\n```\n",
            "</details>\n",
        ]
    return "\n".join(lines)


def _engine_of(found: Counterexample) -> str:
    engine = found.trial.engine
    limits = [f"token_budget={engine.token_budget}"]
    limits += [f"max_batch_size={engine.max_batch_size}"] if engine.max_batch_size else []
    if engine.kv_capacity:
        limits.append(f"kv_capacity={engine.kv_capacity} in blocks of {engine.kv_block_size}")
    return ", ".join(limits)


def main() -> None:
    """Search, unless only the page is asked for; write what was found and the page."""
    if "--page" not in sys.argv[1:]:
        names = [name for family in columns().values() for name in family]
        with ProcessPoolExecutor() as pool:
            found = dict(zip(names, pool.map(found_about, names), strict=True))
        lines = [
            f"{json.dumps(name)}: {{\n"
            + ",\n".join(f' "{c}": {json.dumps(e)}' for c, e in entries.items())
            + "\n}"
            for name, entries in found.items()
        ]
        FOUND.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    PAGE.write_text(page(json.loads(FOUND.read_text(encoding="utf-8"))), encoding="utf-8")


if __name__ == "__main__":
    main()
