"""Operator profiles: the sum is the sum, interpolation is exact where it must be."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._profile_grid import complete_grid
from queueing_llm.fitting._read_profile import EVERY_LAYER, ONCE, read_profile
from queueing_llm.fitting._read_run import read_run

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "vllm_runs"
LAYERS, PROMPT = 4, 64
TOKENS = (1, 2, 64, 128, 256)
SEQUENCES = (1, 2, 64)
CHUNKS, CONTEXTS, DECODES, KV = (16, 64, 256), (0, 64, 1024), (1, 8, 32), (16, 512, 1024)


def dense_us(name, tokens):
    return (1 + len(name)) + 0.25 * tokens


def attention_us(chunk, context, decodes, kv):
    """Return a time that is linear along each axis, apart from a charge for mixing."""
    mixing = 7.0 if chunk and decodes else 0.0
    return 2 + mixing + 0.01 * chunk * (context + 8) + 0.003 * decodes * (kv + 5)


def attention_points():
    alone = [(0, 0, *d) for d in itertools.product(DECODES, KV)]
    prefills = [(*p, 0, 0) for p in itertools.product(CHUNKS, CONTEXTS)]
    mixed = [(*p[:2], *d[2:]) for p, d in itertools.product(prefills, alone)]
    return [*alone, *prefills, *mixed]


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the profile of a made-up model."""
    lines = ["layer,tokens,time_us"]
    lines += [f"{n},{t},{dense_us(n, t)}" for n in (*ONCE, *EVERY_LAYER) for t in TOKENS]
    (tmp_path / "dense.csv").write_text("\n".join(lines))
    lines = ["layer,sequences,time_us"]
    lines += [
        f"{n},{s},{10 * (n == 'lm_head') + s}"
        for n in ("lm_head", "sampler")
        for s in SEQUENCES
    ]
    (tmp_path / "per_sequence.csv").write_text("\n".join(lines))
    lines = ["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us"]
    lines += [f"{','.join(map(str, p))},{attention_us(*p)}" for p in attention_points()]
    (tmp_path / "attention.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.fixture
def profile(folder):
    return read_profile(folder, layers=LAYERS, prompt_tokens=PROMPT)


def by_hand(prefill, decode, kv, *, chunk, context):
    """Return the seconds of a batch whose prefill tokens are one chunk."""
    tokens, each = prefill + decode, kv / decode if decode else 0
    once = sum(dense_us(name, tokens) for name in ONCE)
    layer = sum(count * dense_us(name, tokens) for name, count in EVERY_LAYER.items())
    sequences = decode + (prefill > 0)
    last = 10 + 2 * sequences
    return 1e-6 * (once + LAYERS * (layer + attention_us(chunk, context, decode, each)) + last)


@pytest.mark.parametrize(
    ("batch", "chunk", "context"),
    [
        ((0, 1, 512), 0, 0),
        ((0, 20, 20 * 700), 0, 0),
        ((64, 0, 0), 64, 0),
        ((32, 0, 0), 32, 16),
        ((32, 8, 8 * 512), 32, 16),
        ((40, 12, 12 * 100), 40, 12),
    ],
)
def test_a_step_is_the_sum_of_its_operators(profile, batch, chunk, context):
    expected = by_hand(*batch, chunk=chunk, context=context)
    assert float(profile(*batch)) == pytest.approx(expected, rel=1e-12)


def test_times_are_held_below_the_first_count_and_not_continued_to_zero(profile):
    held = by_hand(1, 0, 0, chunk=16, context=(PROMPT - 1) / 2)
    assert float(profile(1, 0, 0)) == pytest.approx(held, rel=1e-12)
    assert float(profile(0, 4, 4)) == float(profile(0, 4, 4 * 16))


def test_a_second_prompt_adds_the_attention_of_a_whole_one(profile):
    whole = 1e-6 * LAYERS * attention_us(PROMPT, 0, 0, 0)
    one, two = float(profile(PROMPT)), float(profile(2 * PROMPT))
    dense = profile.by_tokens.at(np.array([64.0, 128.0]))
    last = profile.by_sequences.at(np.array([1.0, 2.0]))
    assert two - one == pytest.approx(whole + np.diff(dense)[0] + np.diff(last)[0], rel=1e-9)


def test_what_lies_beyond_the_profile_is_said_or_refused(profile):
    assert not profile.is_extrapolated(32, 8, 8 * 512)
    assert profile.is_extrapolated(0, 8, 8 * 1025)
    assert profile.is_extrapolated(16, 33, 33 * 16)
    assert profile.is_extrapolated(0, 70, 0)
    with pytest.raises(
        InvalidArgument, match=r"at most 256 \[tokens\], the most profiled, got 257"
    ):
        profile(200, 57)
    with pytest.raises(InvalidArgument, match=r"above 0 \[tokens\]"):
        profile([0, 16])
    with pytest.raises(InvalidArgument, match="kv_tokens must be finite"):
        profile(0, 1, float("nan"))
    with pytest.raises(InvalidArgument, match="prefill_tokens must be finite"):
        profile("many")
    assert any("continued along the last cell" in note for note in profile.notes)


def test_a_table_has_the_times_of_the_profile_at_its_nodes(profile):
    table = profile.table(token_budget=200, most_decode_tokens=40, kv_capacity=2000)
    x, y, kv = (np.array(axis) for axis in table.axes)
    assert (x[-1], y[-1], kv[-1]) == (200, 40, 2000)
    assert {0, 1}.issubset(x)
    assert {0, 1}.issubset(y)
    grid = [m.ravel() for m in np.meshgrid(x, y, kv, indexing="ij")]
    keep = (grid[0] + grid[1] > 0) & (grid[0] + grid[1] <= 256)
    batch = [g[keep] for g in grid]
    np.testing.assert_allclose(table(*batch), profile(*batch), rtol=1e-12)


def test_a_table_that_was_not_profiled_is_refused(profile):
    with pytest.raises(InvalidArgument, match="token_budget must be at most 256"):
        profile.table(token_budget=257, most_decode_tokens=8, kv_capacity=100)
    with pytest.raises(InvalidArgument, match="kv_capacity must be an integer at least 1"):
        profile.table(token_budget=64, most_decode_tokens=8, kv_capacity=0)


def test_the_samples_of_a_profile_are_its_times_and_nothing_is_extrapolated(profile):
    samples = profile.samples(kv_capacity=10_000)
    batch = samples.prefill_tokens, samples.decode_tokens, samples.kv_tokens
    np.testing.assert_array_equal(samples.seconds, profile(*batch))
    assert not profile.is_extrapolated(*batch).any()
    assert samples.kv_tokens.max() <= 10_000
    assert {(bool(x), bool(y)) for x, y in zip(*batch[:2], strict=True)} == {
        (True, True),
        (True, False),
        (False, True),
    }


@settings(max_examples=30)
@given(data=st.data())
def test_a_complete_grid_is_found_among_scattered_points(data):
    """Two grids that share their ends: the larger is chosen, the rest measures the gap."""
    inner = st.lists(st.integers(1, 99), max_size=4, unique=True)
    axes = [sorted({0, *data.draw(inner), 100}) for _ in range(3)]
    points = set(itertools.product(*axes))
    more = data.draw(st.sets(st.tuples(*[st.integers(0, 100)] * 3), max_size=5))
    scattered = np.array(sorted(points | more), dtype=float)
    order = np.random.default_rng(0).permutation(len(scattered))
    columns = list(scattered[order].T)
    seconds = 1 + columns[0] + 2 * columns[1] + 3 * columns[2]
    grid = complete_grid(columns, seconds)
    assert grid.seconds.size >= len(points)
    np.testing.assert_allclose(grid.at(*columns), seconds, rtol=1e-12)
    assert np.isnan(grid.gap) or grid.gap < 1e-12


def test_points_without_a_complete_grid_are_refused():
    columns = [np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0])]
    with pytest.raises(ValueError, match="no complete grid"):
        complete_grid(columns, np.ones(3))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "dense.csv",
            ("act_fn,64,", "act_fn,sixty,"),
            r"dense.csv, line \d+: tokens .* 'sixty'",
        ),
        ("dense.csv", ("act_fn,64,", "act_fn,128,"), "2 rows for act_fn at tokens = 128"),
        ("dense.csv", ("act_fn", "gelu"), r"unknown operators \['gelu'\]"),
        ("dense.csv", ("act_fn,64,", "act_fn,65,"), "timed at the same tokens"),
        ("per_sequence.csv", ("sampler", "lm_head"), r"no times of \['sampler'\]"),
        ("per_sequence.csv", ("lm_head,1,11", "lm_head,1,-11"), "time_us must be .* above 0"),
        ("attention.csv", ("0,0,32,1024,", "0,0,32,1023,"), "complete from end to end"),
        ("attention.csv", ("n_decode", "decodes"), "no column 'n_decode'"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(folder, file, change, message):
    text = (folder / file).read_text()
    assert change[0] in text
    (folder / file).write_text(text.replace(*change))
    with pytest.raises(InvalidArgument, match=message):
        read_profile(folder, layers=LAYERS)


def test_a_folder_without_a_file_is_refused(folder):
    (folder / "attention.csv").unlink()
    with pytest.raises(InvalidArgument, match=r"it lacks attention.csv"):
        read_profile(folder, layers=LAYERS)


def test_a_model_without_layers_is_refused(folder):
    with pytest.raises(InvalidArgument, match="layers must be an integer at least 1"):
        read_profile(folder, layers=0)


needs_data = pytest.mark.skipif(not DATA.exists(), reason="no shared folder beside")


@needs_data
@pytest.mark.parametrize(
    ("gpu", "floor", "slope"), [("RTX4090", 17.26, 0.1832), ("RTXPRO6000", 11.60, 0.1102)]
)
def test_decode_steps_lie_on_the_line_known_for_the_gpu(gpu, floor, slope):
    folder = DATA / "profile" / gpu / "meta-llama" / "Llama-3.1-8B"
    profile = read_profile(folder, layers=32)
    decodes = np.arange(1, 257)
    milliseconds = 1e3 * profile(0, decodes, 1024 * decodes)
    found = np.polynomial.Polynomial.fit(decodes, milliseconds, 1).convert().coef
    assert found == pytest.approx([floor, slope], rel=0.01)


@needs_data
@pytest.mark.parametrize(("gpu", "middle"), [("RTX4090", 0.967), ("RTXPRO6000", 0.956)])
def test_the_sum_of_operators_is_a_little_less_than_the_steps_of_the_real_engine(gpu, middle):
    """What is missing is the time between operators."""
    folder = DATA / "profile" / gpu / "meta-llama" / "Llama-3.1-8B"
    profile = read_profile(folder, layers=32, prompt_tokens=857)
    run = read_run(DATA / gpu / "Llama-3.1-8B")
    decode = run.select(run.prefill_tokens == 0)
    predicted = profile(0, decode.decode_tokens, decode.kv_tokens)
    assert np.median(predicted / decode.seconds) == pytest.approx(middle, abs=0.002)


@needs_data
@pytest.mark.parametrize(("gpu", "middle"), [("RTX4090", 0.975), ("RTXPRO6000", 0.971)])
def test_seconds_with_prefills_are_weighed_means_of_two_kinds_of_step(gpu, middle):
    """A second holds steps with a whole prompt and steps without."""
    folder = DATA / "profile" / gpu / "meta-llama" / "Llama-3.1-8B"
    profile = read_profile(folder, layers=32, prompt_tokens=857)
    run = read_run(DATA / gpu / "Llama-3.1-8B")
    mixed = run.select(run.prefill_tokens > 0)
    chunk = np.minimum(np.maximum(mixed.prefill_tokens, 857), 2048 - mixed.decode_tokens)
    share = mixed.prefill_tokens / chunk
    pure = profile(0, mixed.decode_tokens, mixed.kv_tokens)
    both = profile(chunk, mixed.decode_tokens, mixed.kv_tokens)
    predicted = (1 - share) * pure + share * both
    assert np.median(predicted / mixed.seconds) == pytest.approx(middle, abs=0.002)


@needs_data
def test_the_table_of_a_real_profile_is_close_between_its_nodes():
    folder = DATA / "profile" / "RTX4090" / "meta-llama" / "Llama-3.1-8B"
    profile = read_profile(folder, layers=32, prompt_tokens=857)
    table = profile.table(token_budget=2048, most_decode_tokens=256, kv_capacity=41408)
    rng = np.random.default_rng(1)
    decodes = rng.integers(0, 257, 2000)
    prefills = np.where(rng.random(2000) < 0.4, 0, rng.integers(1, 1792, 2000))
    prefills = np.where(decodes == 0, np.maximum(prefills, 1), prefills)
    kv = np.minimum(decodes * rng.integers(50, 3000, 2000), 41408)
    errors = np.abs(table(prefills, decodes, kv) / profile(prefills, decodes, kv) - 1)
    assert np.median(errors) < 0.001
    assert errors.max() < 0.06
