"""How wrong the predictions are, against real engines on real GPUs, as one report.

``python -m paper_repro.validation.report --data DIR`` writes ``report.md``, tables (CSV) and
figures (PNG). What is not in ``DIR`` is left out and said to be. ``--quick`` takes a
thirteenth of part 1, asks neither the scheduler with a prefix cache in part 2 nor for verdicts.
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from paper_repro.validation.sections import (
    Section,
    guidellm_section,
    silicon_section,
    vllm_section,
)
from paper_repro.validation.tables import markdown

HERE = Path(__file__).resolve().parent
MOST_BYTES = 100_000
"""Of a figure that is kept with the summary."""
PARTS = {1: silicon_section, 2: guidellm_section, 3: vllm_section}

HEAD = """# Predictions held against real engines

Made by `python -m paper_repro.validation.report --data DIR` at the root of the repository,
with the extras `gpu-data` (part 1) and `plots`. `DIR` holds the measurements, which are public
and are not part of this repository; what it lacks is left out.
Errors are predicted over measured, less one.
"""

TAIL = """## To run another case

* Runs of a closed loop: `DIR/silicon_sample.csv` in the format of the packaged file.
* A sweep: in place of `DIR/guidellm_vllm_llama31_8b/sweeps.csv`; or `read_sweeps`,
  `fitted_server(low_rate_runs(runs))`, then `predict(assumed_engine(law), run,
  request_time=...)` for each run (`sweeps.py`, `guidellm.py`).
* A recorded run: put its folder `GPU/MODEL` beside the others, operator times into
  `profile/GPU/.../MODEL` (for TP 2 in `tp2` beneath) with a `config.json` if the model is not
  known; or `serve(engine, requests, until=...)` and `serve_by_scheduler(...)` with any law,
  limits and requests (`serving.py`).

## Sources of the data that the report was written for

* Part 1: the measured runs and operator times of aiconfigurator-core 0.12.0 (Apache-2.0).
* Part 2: llm-inferno/model-trainer @ 047f0ae0, experiment 1 (Apache-2.0): GuideLLM and vLLM.
  How lengths are drawn: the documentation of that benchmark.
* Part 3: casys-kaist/LLMServingSim @ 5daddb21 (MIT): vLLM 0.19.0 and operator profiles.
* Everything computed from them: ours.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; return 0."""
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    begun, numbers = time.perf_counter(), sorted(set(options.parts))
    sections = []
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        started = [
            pool.submit(PARTS[number], options.data, options.out, quick=options.quick)
            for number in numbers
        ]
        for each in started:
            sections.append(each.result())
            print(f"{time.perf_counter() - begun:6.0f} s  {sections[-1].title}", flush=True)
    text = composed(sections, quick=options.quick)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    if options.readme:
        _keep(text, sections)
    return 0


def composed(sections: Sequence[Section], *, quick: bool) -> str:
    """Return the report as Markdown."""
    targets = [line for section in sections for line in section.targets]
    parts = [HEAD]
    if quick:
        parts.append("This is a quick run: see the options for what it leaves out.\n")
    parts.append("## Targets\n")
    parts.append(markdown(("part", "target (median absolute error)", "obtained", ""), targets))
    for section in sections:
        figures = (f"![{path.stem}]({path.name})" for path in section.figures)
        parts.append("\n\n".join([f"\n## {section.title}", section.text, *figures]))
    return "\n".join([*parts, "", TAIL])


def _keep(text: str, sections: Sequence[Section]) -> None:
    """Put the summary and its figures beside this file, except figures that are too large."""
    for path in (path for section in sections for path in section.figures):
        if path.stat().st_size <= MOST_BYTES:
            shutil.copy(path, HERE / path.name)
        else:
            text = text.replace(f"![{path.stem}]({path.name})\n", "")
    (HERE / "README.md").write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the measurements")
    parser.add_argument("--parts", type=int, nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=Path("validation-report"))
    parser.add_argument("--quick", action="store_true", help="a few minutes less")
    parser.add_argument("--readme", action="store_true", help="renew the summary that is kept")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
