"""The decoder that is measured computes what a decoder computes."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

FILE = Path(__file__).parents[3] / "benchmarks" / "decoder_steps.py"
PROMPT = [3, 1, 4, 1, 5, 9, 2]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("decoder_steps", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["decoder_steps"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def decoder(script):
    return script.Decoder(script.SHAPES["toy"], device="cpu", dtype=torch.float64)


def logits(decoder, prompt, *, keep=None):
    none = torch.zeros(0, dtype=torch.long)
    return decoder.step(torch.tensor(prompt), none, [], stored=0, prompt_cache=keep)


@torch.inference_mode()
def test_decoding_from_the_cache_is_reading_the_whole_prompt(decoder):
    cache = decoder.cache(1, len(PROMPT))
    logits(decoder, PROMPT[:-1], keep=cache)
    last = torch.tensor(PROMPT[-1:])
    none = torch.zeros(0, dtype=torch.long)
    stored = len(PROMPT) - 1
    decoded = decoder.step(none, last, cache, stored=stored)
    torch.testing.assert_close(decoded, logits(decoder, PROMPT), rtol=1e-5, atol=1e-5)
    for keys, _ in cache:
        keys[0, 0, 0] += 1.0
    spoilt = decoder.step(none, last, cache, stored=stored)
    assert (spoilt - decoded).abs().max() > 1e-3


@torch.inference_mode()
def test_a_mixed_batch_does_what_its_parts_do(decoder):
    cache = decoder.cache(2, 5)
    for keys, values in cache:
        keys.normal_(generator=torch.Generator().manual_seed(1))
        values.normal_(generator=torch.Generator().manual_seed(2))
    tokens, none = torch.tensor([7, 8]), torch.zeros(0, dtype=torch.long)
    both = decoder.step(torch.tensor(PROMPT), tokens, cache, stored=4)
    decodes = decoder.step(none, tokens, cache, stored=4)
    torch.testing.assert_close(both[:1], logits(decoder, PROMPT), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(both[1:], decodes, rtol=1e-9, atol=1e-9)
    assert both.shape == (3, decoder.shape.vocabulary)


def test_the_grid_keeps_its_limits_and_mixes(script):
    grid = list(script.batches(1024, most_decodes=64, most_kv=20_000))
    assert len(set(grid)) == len(grid) > 50
    assert all(b.prefill + b.decodes <= 1024 and b.kv_tokens <= 20_000 for b in grid)
    assert {(b.prefill > 0, b.decodes > 0) for b in grid} == {(1, 0), (0, 1), (1, 1)}


def test_a_toy_run_writes_rows_that_can_be_fitted(script, tmp_path, monkeypatch, capsys):
    path = tmp_path / "steps.csv"
    limits = ["--most-tokens", "32", "--most-decodes", "8", "--most-kv", "300"]
    monkeypatch.setattr(sys, "argv", ["x", "--shape", "toy", "--out", str(path), *limits])
    script.main()
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == capsys.readouterr().out.count(" ms\n") > 5
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert {int(row["kv_tokens"]) for row in rows if row["decode_tokens"] == "0"} == {0}
    assert json.loads(path.with_suffix(".json").read_text())["shape"]["layers"] == 2
