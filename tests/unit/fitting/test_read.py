"""Reading measured steps: each format, what is told from it, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.fitting._read import STEP_FORMATS, read_step_samples

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="no shared folder beside")


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a file and gives its path."""

    def write(content: str | bytes, name: str = "steps.csv") -> Path:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


def batches(samples):
    """Return the samples as rows of prefill, decode and KV tokens."""
    columns = samples.prefill_tokens, samples.decode_tokens, samples.kv_tokens
    return [tuple(row) for row in np.transpose(columns).tolist()]


def refused(path, match, **selection):
    with pytest.raises(InvalidArgument, match=match) as caught:
        read_step_samples(path, **selection)
    assert "\n" not in str(caught.value)


# Plain columns.


def test_plain_columns_in_any_order_with_others_beside(written):
    text = "gpu,milliseconds,kv_tokens,decode_tokens,prefill_tokens\r\na,12.5,96,3,512\r\n\r\n"
    samples = read_step_samples(written("\ufeff" + text))
    assert batches(samples) == [(512, 3, 96)]
    assert samples.seconds == pytest.approx([0.0125])


def test_tokens_alone_and_json_lines(written):
    assert batches(read_step_samples(written("tokens,seconds\n1,.01\n64.5,.02"))) == [
        (1, 0, 0),
        (64.5, 0, 0),
    ]
    rows = [{"prefill_tokens": 0, "decode_tokens": 8, "seconds": 0.01, "note": [1]}, {}]
    rows[1] = dict(reversed(rows[0].items()), decode_tokens="9")
    late = [{"prefill_tokens": 5, "seconds": 0.1}, rows[0]]
    refused(written("\n".join(map(json.dumps, late)), "l.jsonl"), "line 1: decode_tokens .* ''")
    lines = "\n".join(map(json.dumps, rows))
    assert batches(read_step_samples(written(lines, "log.jsonl"))) == [(0, 8, 0), (0, 9, 0)]


@given(rows=st.lists(st.tuples(st.integers(1, 9999), st.floats(1e-6, 1e6)), min_size=1))
def test_what_is_written_is_what_is_read(rows, tmp_path_factory):
    file = tmp_path_factory.mktemp("written") / "steps.csv"
    file.write_text("tokens,seconds\n" + "\n".join(f"{n},{t!r}" for n, t in rows))
    samples = read_step_samples(file)
    assert list(zip(samples.tokens, samples.seconds, strict=True)) == rows


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "tokens,seconds\n1,.01\n2,fast",
            r"line 3: seconds must be .* above 0 \[s\], got 'fast'",
        ),
        ("tokens,seconds\n1,0", r"line 2: seconds must be .*, got '0'"),
        ("tokens,milliseconds\n1,nan", r"line 2: milliseconds must be a finite number .*'nan'"),
        ("tokens,seconds\n-1,1", r"line 2: tokens must be .* at least 0 \[tokens\], got '-1'"),
        ("tokens,seconds\n\n0,1", r"line 3: tokens \+ decode_tokens must be above 0"),
        ("tokens,seconds\n1,1,1", r"line 2: 3 fields, got '1,1,1'; 2 are accepted"),
        ("tokens,seconds\n", "holds no row"),
        ("tokens,seconds,tokens\n1,1,1", "more than one column 'tokens'"),
        ("tokens,seconds,milliseconds\n1,1,1", "one column 'seconds' or 'milliseconds'"),
        ("tokens,decode_tokens,seconds\n1,1,1", "accepted beside it: 'prefill_tokens'"),
        (
            "prefill_tokens,kv_tokens,seconds\n8,9,1",
            "kv_tokens must be 0 where nothing decodes",
        ),
        ('{"tokens": 1, "seconds": 1}\n[1]', r"line 2: one JSON object a line .*\[1\]"),
        ('{"tokens": 1, "seconds": 1}\n{"tokens": 2}', "line 2: seconds must be .* got ''"),
        ('{"tokens": true, "seconds": 1}', "line 1: tokens must be .* got 'true'"),
        ("time,seconds\n1,1", 'is of no known format, with "seconds", "time"'),
        ("[" * 100_000, "is of no known format"),
        (
            "tokens,seconds\n1," + "9" * 200_000,
            "line 2: not comma-separated values: field larger",
        ),
        ('{"tokens": 1, "seconds": 1}\n' + "[" * 100_000, "line 2: one JSON object a line"),
        ("", "is empty"),
        (b"\xff\xfe\x00", "not a text file"),
    ],
)
def test_what_is_wrong_with_a_plain_file_is_said(written, text, match):
    refused(written(text), match)


def test_a_misspelt_column_is_not_ignored(written):
    text = "prefill_tokens,decode_token,seconds\n1,8,.1"
    refused(written(text), "no column 'decode_tokens', but 'decode_token'")


def test_what_is_wrong_with_the_question_is_said(written, tmp_path):
    file = written("tokens,seconds\n1,1\n300,2")
    refused(3.5, "path must be that of a file or folder of measurements, got path=3.5")
    refused(tmp_path / "nothing", "does not exist")
    refused(tmp_path, 'is of no known format, with "steps.csv"')
    refused(file, "did you mean 'table'", format="tabel")
    refused(file, "format 'run' is a folder, and .* is a file", format="run")
    refused(file, "format 'table' has no selection 'layers'", layers=32)
    refused(file, "no sample with phase='decode' and most_tokens=None", phase="decode")
    refused(file, "did you mean 'decode'", phase="decodes")
    refused(file, "most_tokens must be an integer at least 1", most_tokens=0)
    assert len(read_step_samples(file, most_tokens=299)) == 1


def test_every_format_is_recognised_by_one_kind_of_mark():
    for known in STEP_FORMATS.values():
        assert sum(map(bool, (known.files, known.columns, known.phrases))) == 1
        assert set(known.needed) <= set(known.selections)


# vidur.

OPERATORS = (
    "emb",
    "input_layernorm",
    "attn_pre_proj",
    "attn_rope",
    "attn_post_proj",
    "post_attention_layernorm",
    "mlp_up_proj",
    "mlp_act",
    "mlp_down_proj",
    "add",
)
SHAPE = "n_head,n_kv_head,n_embd,n_expanded_embd"
LLAMA_7B = "32,32,4096,11008"


def vidur(*rows, shape=LLAMA_7B, other_stats=True):
    """Return an mlp.csv; a row is tokens, workers, median of each operator [ms]."""
    stats = ("max", "median") if other_stats else ("median",)
    names = [f"time_stats.{name}.{stat}" for name in OPERATORS for stat in stats]
    lines = [",".join([*names, SHAPE, "num_tokens", "num_tensor_parallel_workers"])]
    for tokens, workers, median in rows:
        # The embedding and all but the medians must not matter.
        times = [
            str(99 if stat == "max" or name == "emb" else median)
            for name in OPERATORS
            for stat in stats
        ]
        lines.append(",".join([*times, shape, str(tokens), str(workers)]))
    return "\n".join(lines)


ALL_REDUCE = """,time_stats.all_reduce.median,num_workers,size,collective,devices_per_node
0,0.010,2,8192,all_reduce,2
1,0.030,2,81920,all_reduce,2
2,0.900,2,8192,all_reduce,1
3,0.900,4,8192,all_reduce,4
"""


def test_vidur_sums_nine_operators_over_the_layers_and_averages_equal_counts(written):
    file = written(vidur((128, 1, 0.1), (1, 1, 0.02), (128, 1, 0.3), (1, 2, 0.01)))
    samples = read_step_samples(file)
    assert samples.tokens.tolist() == [1, 128]
    assert samples.seconds == pytest.approx([32 * 9 * 0.02e-3, 32 * 9 * 0.2e-3])
    assert "32 layers, TP 1" in samples.source


def test_vidur_adds_two_all_reduces_a_layer(written):
    file = written(vidur((1, 2, 0.02), (5, 2, 0.02), (10, 2, 0.02)))
    network = written(ALL_REDUCE, "all_reduce.csv")
    alone = read_step_samples(file, tensor_parallel=2)
    both = read_step_samples(file, tensor_parallel=2, all_reduce=network)
    # 1, 5 and 10 tokens of 4096 half-precision numbers are 8192, 40960 and 81920 bytes.
    reduce = np.array([0.010, 0.010 + 0.020 * 4 / 9, 0.030]) * 1e-3
    assert both.seconds - alone.seconds == pytest.approx(2 * 32 * reduce)
    assert "without communication" in alone.source


def test_vidur_refuses_what_it_cannot_know(written):
    unknown = written(vidur((1, 1, 0.02), shape="7,7,700,7000"), "unknown.csv")
    refused(unknown, r"\(7, 7, 700, 7000\) are those of no known model; give 'layers'")
    assert len(read_step_samples(unknown, layers=12)) == 1
    file = written(vidur((1, 1, 0.02), (4096, 2, 0.02)))
    refused(file, "no row with tensor_parallel=4; accepted: 1, 2", tensor_parallel=4)
    refused(file, "layers must be an integer at least 1", layers=0)
    network = written(ALL_REDUCE, "all_reduce.csv")
    refused(
        file,
        r"column size: it must reach from 3.35544e\+07 to",
        tensor_parallel=2,
        all_reduce=network,
    )
    refused(file, "column num_workers: no row", tensor_parallel=1, all_reduce=network)


# Splitwise.

SPLITWISE = (
    "model,hardware,prompt_size,batch_size,token_size,prompt_time,token_time,tensor_parallel"
)


def test_splitwise_rows_are_a_prefill_and_a_decode(written):
    rows = ["llama2-70b,h100-80gb,512,4,128,80,35,8", "llama2-70b,h100-80gb,512,4,128,80,35,2"]
    samples = read_step_samples(written("\n".join([SPLITWISE, *rows])), tensor_parallel=8)
    assert batches(samples) == [(2048, 0, 0), (0, 4, 4 * (512 + 64))]
    assert samples.seconds == pytest.approx([0.080, 0.035])


def test_splitwise_rows_known_to_be_unsound_are_refused(written):
    rows = [
        "llama2-70b,a100-80gb,512,1,128,80,35,2",
        "llama2-70b,a100-80gb,512,1,128,80,35,4",
        "llama2-70b,h100-80gb-pcap,512,1,128,80,35,8",
    ]
    file = written("\n".join([SPLITWISE, *rows]))
    refused(file, "got none of them. Accepted: llama2-70b, a100-80gb, 4[.]$")
    refused(file, "not used: no law fits", tensor_parallel=2)
    refused(file, "not measured on its own", hardware="h100-80gb-pcap")
    refused(file, "got hardware='b200'", hardware="b200")


# GuideLLM.

SWEEP = "i,o,name,errored,rps,conc,ttft_ms,itl_ms,pin,pout,otps"
RUNS = (
    "64,32,synchronous,0,0.5,1.0,20,10,60,30,15",
    "64,32,constant,0,10,8.0,30,20,60,30,300",
    "64,32,constant,0,18,50.0,90,40,60,30,540",
    "64,32,constant,3,19,60.0,90,40,60,30,540",
    "64,32,constant,0,19,60.0,-9e8,40,60,30,540",
    "64,32,throughput,0,20,90.0,900,60,60,30,600",
)


def test_guidellm_runs_are_mean_operating_points(written):
    samples = read_step_samples(written("\n".join([SWEEP, *RUNS])))
    assert batches(samples)[1] == pytest.approx((10 * 60 * 0.020, 8, 8 * (60 + 15)))
    assert samples.seconds == pytest.approx([0.010, 0.020, 0.040])
    assert "3 of 6 runs, 2 with errors left out" in samples.source
    assert samples.is_averaged


def test_guidellm_runs_are_selected_by_name_load_and_lengths(written):
    file = written("\n".join([SWEEP, *RUNS]))
    assert len(read_step_samples(file, most_load=0.5)) == 2
    assert read_step_samples(file, runs="throughput").seconds == pytest.approx([0.06])
    refused(file, "did you mean 'constant'", runs="konstant")
    refused(file, "most_load must be .* at most 1", most_load=1.5)
    refused(file, "no sound run .* its lengths are 64/32", prompt_tokens=65)
    refused(file, "prompt_tokens must be an integer", prompt_tokens="64")
    lacking = written("\n".join([SWEEP, *RUNS[:3]]), "low.csv")
    refused(lacking, "no throughput run for lengths 64/32", most_load=0.5)


# A recorded run.

META = {"started_at": "2026-04-25T18:00:00Z", "kv_cache": {"num_kv_tokens": 1000}}
SERIES = """t,prompt_throughput,gen_throughput,running,waiting,kv_cache_pct
1.0,100.0,5.0,2,0,10
2.0,50.0,30.0,4,0,20
3.0,0.0,40.0,4,0,30
4.0,0.0,0.0,4,0,30
5.0,0.0,20.0,0,0,0
"""


@pytest.fixture
def run(tmp_path):
    """Return a function that writes a run with two requests and gives its folder."""

    def write(series=SERIES, meta=META):
        start = 1777140000.0
        requests = [
            {"input_toks": 100, "output_toks": 11, "first_token_ts": 0.5, "last_token_ts": 2.5},
            {"input_toks": 50, "output_toks": 1, "first_token_ts": 1.9, "last_token_ts": 1.9},
        ]
        for request, arrival in zip(requests, (start, start + 0.1), strict=True):
            request.update(arrival_time=arrival, queued_ts=arrival - start)
        (tmp_path / "timeseries.csv").write_text(series)
        (tmp_path / "meta.json").write_text(json.dumps(meta))
        (tmp_path / "requests.jsonl").write_text("\n".join(map(json.dumps, requests)))
        return tmp_path

    return write


def test_a_run_gives_the_mean_step_of_each_whole_second(run):
    samples = read_step_samples(run())
    assert samples.seconds == pytest.approx([3 / 30, 4 / 40])
    assert batches(samples) == [pytest.approx((50 * 0.1, 3, 150)), pytest.approx((0, 4, 250))]
    assert "KV recorded, 2 of 5 intervals" in samples.source
    assert batches(read_step_samples(run(), phase="decode", kv_capacity=2000)) == [(0, 4, 500)]


def test_kv_tokens_that_were_not_recorded_are_reconstructed(run):
    series = "\n".join(line.rsplit(",", 1)[0] + ",0" for line in SERIES.split("\n")[1:-1])
    series = SERIES.split("\n")[0] + "\n" + series
    folder = run(series, {"started_at": "2026-04-25T18:00:00+00:00"})
    samples = read_step_samples(folder)
    # At 1, 2 and 3 s the first request holds 100 + 1 + (2.5, 7.5 of 10) tokens, then none.
    assert samples.kv_tokens == pytest.approx([(103.5 + 108.5) / 2, 108.5 / 2])
    assert "KV reconstructed" in samples.source


def test_what_is_wrong_with_a_run_is_said(run):
    refused(run(meta={"started_at": "2026-04-25T18:00:00Z"}), "give 'kv_capacity'")
    unplaced = SERIES.replace(",30\n", ",0\n").replace(",20\n", ",0\n").replace(",10\n", ",0\n")
    refused(run(unplaced, {}), "started_at: a time such as")
    refused(run(SERIES.replace("3.0,", "1.5,")), "column t: it must rise")
    refused(run(SERIES.replace("0.0,40.0", "0.0,-4")), "line 4: gen_throughput must be")
    refused(run(unplaced, {"started_at": "2026-04-25T18:00:00"}), "got '2026-04-25T18:00:00'")
    refused(run(meta={"kv_cache": None}), "give 'kv_capacity'")
    refused(
        run(meta={"kv_cache": {"num_kv_tokens": "many"}}), "num_kv_tokens must be an integer"
    )
    refused(run(meta="{"), "give 'kv_capacity'")
    idle = SERIES.replace("30.0,4", "0.0,4").replace("40.0,4", "0.0,4")
    refused(run(idle), "none of 4 intervals can be used")


# Logs.

SGLANG = """[2025-09-03 05:49:04] Prefill batch. #new-seq: 1, #new-token: 115, #cached-token: 351, token usage: 0.02, #running-req: 0, #queue-req: 0,
[2025-09-03 05:49:04] Decode batch. #running-req: 1, #token: 501, token usage: 0.02, cuda graph: True, gen throughput (token/s): 65.75, #queue-req: 0,
[2025-09-03 05:49:05] Decode batch. #running-req: 1, #token: 541, token usage: 0.03, cuda graph: True, gen throughput (token/s): 80.0, #queue-req: 0,
[2025-09-03 05:49:05 TP1] Decode batch. #running-req: 9, #token: 9, token usage: 0.03, gen throughput (token/s): 75.29, #queue-req: 0,
[2025-09-03 05:49:05] INFO:     127.0.0.1:54504 - "POST /v1/chat/completions HTTP/1.1" 200 OK
[2025-09-03 05:49:06] Prefill batch. #new-seq: 1, #new-token: 99, #cached-token: 0, token usage: 0.02, #running-req: 1, #queue-req: 0,
[2025-09-03 05:49:06] Decode batch [124], #running-req: 2, #full token: 700, token usage: 0.03, gen throughput (token/s): 90.0, #queue-req: 0
[2025-09-03 05:49:07] Decode batch, #running-req: 2, #token: 780, token usage: 0.03, gen throughput (token/s): 100.0, #queue-req: 0
[2025-09-03 05:49:08] Decode batch. #running-req: 1, #token: 600, token usage: 0.03, gen throughput (token/s): 70.0, #queue-req: 0
"""  # noqa: E501


def test_sglang_steps_between_lines_without_prefill_or_change(written):
    samples = read_step_samples(written(SGLANG, "server.log"))
    assert batches(samples) == [(0, 1, 521), (0, 2, 740)]
    assert samples.seconds == pytest.approx([1 / 80, 2 / 100])


def test_sglang_logs_that_do_not_tell_are_refused(written):
    speculative = SGLANG.replace("cuda graph: True", "accept len: 2.40, cuda graph: True")
    refused(written(speculative, "a.log"), "speculative decoding")
    refused(written(SGLANG[:300], "b.log"), "two lines or more such as .* got 1")
    alone = "\n".join(SGLANG.split("\n")[1:2] + SGLANG.split("\n")[5:7])
    refused(written(alone, "c.log"), "none of 1 intervals can be used")


VLLM = """(APIServer pid=1) INFO 09-02 13:08:10 [loggers.py:123] Engine 000: Avg prompt throughput: {} tokens/s, Avg generation throughput: {} tokens/s, Running: {} reqs, Waiting: 0 reqs, GPU KV cache usage: {}%, Prefix cache hit rate: 53.7%
"""  # noqa: E501


def test_vllm_logs_give_the_mean_step_of_ten_seconds(written):
    rows = [(9.0, 80.0, 8, 2.0), (0.0, 250.0, 10, 4.0), (20.0, 200.0, 10, 5.0)]
    file = written("starting\n" + "".join(VLLM.format(*row) for row in rows), "vllm.log")
    samples = read_step_samples(file, kv_capacity=10_000)
    assert samples.seconds == pytest.approx([9 / 250, 10 / 200])
    assert batches(samples) == [pytest.approx((0, 9, 300)), pytest.approx((1, 10, 450))]
    assert read_step_samples(file).kv_tokens.tolist() == [0, 0]
    assert "KV tokens unknown" in read_step_samples(file).source


def test_vllm_logs_of_two_engines_are_those_of_the_first(written):
    rows = [(9.0, 80.0, 8, 2.0), (0.0, 250.0, 10, 4.0), (20.0, 200.0, 10, 5.0)]
    lines = [VLLM.format(*row) for row in rows]
    others = [VLLM.format(0, 7.0, 1, 1.0).replace("000:", "001:")] * 3
    both = "".join(line for pair in zip(lines, others, strict=True) for line in pair)
    alone = read_step_samples(written("".join(lines), "one.log"), kv_capacity=10_000)
    mixed = read_step_samples(written(both, "two.log"), kv_capacity=10_000)
    assert batches(mixed) == batches(alone)
    drafted = both + "SpecDecoding metrics: Mean acceptance length: 2.3\n"
    refused(written(drafted, "drafts.log"), "speculative decoding")
    torn = "".join(lines).replace("250.0", "1.2.5")
    assert len(read_step_samples(written(torn, "torn.log"))) == 1


TRT = """[08/19/2026-14:11:49] [TRT-LLM] [I] [_torch][RANK {rank}] iter = {i}, global_rank = {rank}, rank = {rank}, num_scheduled_requests = 3, kv_cache_util = 0.112, currank_total_requests = 0/1, host_step_time = 9.5ms, prev_device_step_time = {device}, timestamp = 2026-08-19 14:11:49, states = {{'num_ctx_requests': 1, 'num_ctx_tokens': {x}, 'num_generation_tokens': {y}, 'cached_kv_tokens': 0}}
"""  # noqa: E501


def test_tensorrt_llm_times_belong_to_the_iteration_before(written):
    rows = [
        {"i": 1, "device": "N/A", "x": 4, "y": 0},
        {"i": 2, "device": "243.13ms", "x": 0, "y": 7},
        {"i": 3, "device": "5.5ms", "x": 128, "y": 7},
        {"i": 5, "device": "99.0ms", "x": 0, "y": 8},
    ]
    lines = [TRT.format(rank=rank, **row) for row in rows for rank in (0, 1)]
    samples = read_step_samples(written("".join(lines), "trt.log"))
    assert batches(samples) == [(4, 0, 0), (0, 7, 0)]
    assert samples.seconds == pytest.approx([0.24313, 0.0055])
    refused(written(lines[0] + lines[2].replace("243.13ms", "N/A"), "na.log"), "no iteration")


# The files beside the repository: figures that are known of them.


@needs_data
@pytest.mark.parametrize(
    ("gpu", "model", "known"),
    [
        ("a100", "Llama-2-7b-hf", {1: 9.28, 128: 12.24, 136: 17.58, 192: 15.92, 264: 22.42}),
        ("a100", "CodeLlama-34b-Instruct-hf", {128: 51.7, 136: 76.1, 512: 161.6}),
        ("h100", "Llama-2-7b-hf", {1: 5.60}),
    ],
)
def test_vidur_steps_have_the_known_times(gpu, model, known):
    samples = read_step_samples(DATA / "vidur_profiling" / gpu / f"{model}.mlp.csv")
    assert len(samples) == 259
    found = dict(zip(samples.tokens, 1e3 * samples.seconds, strict=True))
    for tokens, milliseconds in known.items():
        assert found[tokens] == pytest.approx(milliseconds, rel=0.001)


@needs_data
def test_guidellm_steps_obey_one_law_of_users_kv_and_prefill():
    samples = read_step_samples(DATA / "guidellm_vllm_llama31_8b" / "sweeps.csv")
    assert len(samples) == 70
    columns = [np.ones(70), samples.decode_tokens, samples.kv_tokens, samples.prefill_tokens]
    design = np.stack(columns, axis=-1) / samples.seconds[:, None]
    found, *_ = np.linalg.lstsq(design, np.ones(70), rcond=None)
    assert 1e3 * found == pytest.approx([6.647, 0.02458, 5.245e-5, 0.02054], rel=0.04)


@needs_data
def test_splitwise_decodes_have_the_known_line():
    samples = read_step_samples(
        DATA / "splitwise" / "perf_model.csv",
        model="llama2-70b",
        hardware="h100-80gb",
        tensor_parallel=8,
        phase="decode",
    )
    line = 30.4 + 0.309 * np.maximum(0, samples.decode_tokens - 2.1)
    assert np.median(np.abs(line / (1e3 * samples.seconds) - 1)) < 0.03


@needs_data
@pytest.mark.parametrize(("gpu", "seconds"), [("RTX4090", 111), ("RTXPRO6000", 19)])
def test_runs_have_the_known_number_of_decode_seconds(gpu, seconds):
    folder = DATA / "vllm_runs" / gpu / "Llama-3.1-8B"
    assert len(read_step_samples(folder, phase="decode")) == seconds


@needs_data
def test_kv_tokens_are_reconstructed_close_to_those_recorded():
    from queueing_llm.fitting._read_run import _meta, _reconstructed
    from queueing_llm.fitting._read_table import csv_table

    folder = DATA / "vllm_runs" / "RTX4090" / "Llama-3.1-8B"
    recorded = read_step_samples(folder).kv_tokens
    times = csv_table(folder / "timeseries.csv")
    meta = _meta(folder / "meta.json")
    clock = np.array([float(t) for t in times.text("t")])
    again = _reconstructed(folder, clock, meta)
    middle = (again[1:] + again[:-1])[:-1] / 2
    assert np.median(middle / recorded) == pytest.approx(1.05, abs=0.02)
