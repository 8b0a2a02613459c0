"""Reading: what each format may hold, what is refused, and that no row is lost."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from queueing_llm.errors import InvalidArgument
from queueing_llm.traces import read_trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens"


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a file and gives its path."""

    def write(content: str | bytes, name: str = "tiny.csv") -> Path:
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


def mooncake(*rows: dict) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def request(timestamp, **more) -> dict:
    return {"timestamp": timestamp, "input_length": 10, "output_length": 3, **more}


def assert_requests(trace, *, times, prompt, output):
    assert trace.prompt_tokens.tolist() == prompt
    assert trace.output_tokens.tolist() == output
    if times is None:
        assert trace.arrival_times is None
    else:
        assert trace.arrival_times.tolist() == times


def test_azure_2023_with_seven_decimals_crlf_and_no_newline_at_the_end(written):
    text = (
        AZURE + "\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 18:15:50.9951690,396,109"
    )
    trace = read_trace(written(text, "conv.csv"))
    assert_requests(trace, times=[0.0, 4.314579], prompt=[374, 396], output=[44, 109])
    assert trace.name == "conv"
    assert trace.skipped == {}
    assert trace.prompt_tokens.dtype == trace.output_tokens.dtype == np.int64


def test_azure_2024_with_zones_and_from_zero_to_nine_decimals(written):
    rows = (
        "2024-05-10 00:00:00.009930+00:00,2162,5",
        "2024-05-10 00:00:01+00:00,1,1",
        "2024-05-10T02:00:02.5+0200,2,2",
        "2024-05-09 18:30:03.123456789-05:30,3,3",
        "2024-05-10 00:00:04.25Z,4,4",
        "2024-05-10 00:00:05.1 UTC,5,5",
        "2024-05-10 00:00:06,6,6",
    )
    trace = read_trace(written("\n".join([AZURE, *rows])))
    offsets = [0, 0.99007, 2.49007, 3.113526789, 4.24007, 5.09007, 5.99007]
    assert trace.arrival_times.tolist() == offsets


def test_a_byte_order_mark_quotes_blanks_and_other_columns_do_not_matter(written):
    header = '\ufeff"GeneratedTokens", TIMESTAMP ,Extra,ContextTokens'
    trace = read_trace(written(header + '\n "7" ,2023-11-16 18:00:00,,9.0\n\n'))
    assert_requests(trace, times=[0.0], prompt=[9], output=[7])


def test_mooncake_times_are_milliseconds(written):
    text = mooncake(request(500, hash_ids=[0]), request(3501, hash_ids=[0, 1]))
    trace = read_trace(written(text))
    assert_requests(trace, times=[0.0, 3.001], prompt=[10, 10], output=[3, 3])


def test_bailian_times_are_seconds(written):
    call = {"chat_id": 159, "parent_chat_id": -1, "type": "text", "turn": 1, "hash_ids": [1089]}
    text = mooncake(request(61.114, **call), request(64.3, **call))
    trace = read_trace(written(text))
    assert_requests(trace, times=[0.0, 3.186], prompt=[10, 10], output=[3, 3])


@pytest.mark.parametrize(
    ("header", "before", "after"),
    [
        (BURST, "{},ChatGPT", "{},Conversation log"),
        (BURST.replace(",Model", ",Session ID,Elapsed time,Model"), "{},,,GPT-4", "{},API log"),
    ],
    ids=["first release", "with sessions"],
)
def test_burstgpt_with_and_without_sessions(written, header, before, after):
    rows = [
        f"{before.format(t)},{p},{d},{after.format(p + d)}"
        for t, p, d in ((5, 472, 18), (45.5, 1087, 230), (118, 417, 276))
    ]
    trace = read_trace(written("\n".join([header, *rows])))
    assert_requests(
        trace, times=[0.0, 40.5, 113.0], prompt=[472, 1087, 417], output=[18, 230, 276]
    )


def test_a_failed_request_of_burstgpt_is_refused_or_counted(written):
    file = written(f"{BURST}\n5,ChatGPT,472,18,490,API log\n6,GPT-4,90,0,90,API log\n")
    with pytest.raises(InvalidArgument, match=r"line 3, column 'Response tokens': zero output"):
        read_trace(file)
    trace = read_trace(file, skip_bad_rows=True)
    assert len(trace) == 1
    assert trace.skipped == {"zero output tokens": 1}


def test_vidur_with_arrival_times_as_python_prints_floats(written):
    trace = read_trace(written(f"{VIDUR}\n1e-05,374,44\n4.314579000000003,396,109\n"))
    assert_requests(trace, times=[0.0, 4.314569], prompt=[374, 396], output=[44, 109])


def test_vidur_lengths_without_arrival_times(written):
    header = "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio"
    trace = read_trace(written(f"{header}\n3772,54,3826,69.85\n2015,156,2171,12.9\n"))
    assert_requests(trace, times=None, prompt=[3772, 2015], output=[54, 156])


def test_times_count_from_the_first_request_that_is_kept(written):
    file = written(f"{VIDUR}\n1,0,1\n3,1,1\n4,1,1")
    trace = read_trace(file, skip_bad_rows=True)
    assert trace.arrival_times.tolist() == [0.0, 1.0]


SOUND = "2023-11-16 18:00:00,5,5"


@pytest.mark.parametrize(
    ("row", "where", "fault"),
    [
        ("2023-11-16 18:00:01,5", "", "wrong number of fields"),
        ("2023-11-16 18:00:01,5,5,5", "", "wrong number of fields"),
        ("", "", "empty line"),
        (",5,5", "TIMESTAMP", "missing value"),
        ("yesterday,5,5", "TIMESTAMP", "not a time"),
        ("2023-02-30 18:00:01,5,5", "TIMESTAMP", "not a time"),
        ("2023-11-16 24:00:01,5,5", "TIMESTAMP", "not a time"),
        ("2023-11-16 18:00:01.1234567890,5,5", "TIMESTAMP", "not a time"),
        ("2023-11-16 18:00:01+15:00,5,5", "TIMESTAMP", "not a time"),
        ("2023-11-16 18:00:0\u0661,5,5", "TIMESTAMP", "not a time"),
        ("1700000000,5,5", "TIMESTAMP", "not a time"),
        ("2023-11-16 17:59:59.999999999,5,5", "TIMESTAMP", "time goes back"),
        ("2023-11-16 18:00:01,,5", "ContextTokens", "missing value"),
        ("2023-11-16 18:00:01,\u0665,5", "ContextTokens", "not a number"),
        ("2023-11-16 18:00:01,1e400,5", "ContextTokens", "not a whole number"),
        ("2023-11-16 18:00:01,five,5", "ContextTokens", "not a number"),
        ("2023-11-16 18:00:01,nan,5", "ContextTokens", "not a number"),
        ("2023-11-16 18:00:01,inf,5", "ContextTokens", "not a number"),
        ("2023-11-16 18:00:01,-5,5", "ContextTokens", "negative"),
        ("2023-11-16 18:00:01,0,5", "ContextTokens", "zero prompt tokens"),
        ("2023-11-16 18:00:01,5,2.5", "GeneratedTokens", "not a whole number"),
        ("2023-11-16 18:00:01,5,0", "GeneratedTokens", "zero output tokens"),
        ("2023-11-16 18:00:01,5,1000000001", "GeneratedTokens", "too large"),
        ("2023-11-16 18:00:01,5,99999999999999999999", "GeneratedTokens", "too large"),
    ],
)
def test_a_malformed_row_is_named_by_line_column_value_and_reason(written, row, where, fault):
    file = written("\n".join([AZURE, SOUND, row, SOUND.replace("18", "19")]))
    with pytest.raises(InvalidArgument) as caught:
        read_trace(file)
    message = str(caught.value)
    column = f", column {where!r}" if where else ""
    assert f"{file}, line 3{column}: {fault}, got " in message
    assert "accepted: " in message
    assert "skip_bad_rows=True" in message
    cell = row.split(",")[AZURE.split(",").index(where)] if where else row
    assert repr(cell) in message
    trace = read_trace(file, skip_bad_rows=True)
    assert trace.skipped == {fault: 1}
    assert len(trace) == 2


@pytest.mark.parametrize(
    ("line", "where", "fault"),
    [
        ('{"timestamp": 1, "input_length": 5', "", "not a JSON request"),
        ("[1, 5, 5]", "", "not a JSON request"),
        (mooncake(request(-1)), "timestamp", "negative"),
        (mooncake(request("noon")), "timestamp", "not a time"),
        (mooncake(request(None)), "timestamp", "missing value"),
        (mooncake(request(2, input_length=True)), "input_length", "not a number"),
        (mooncake(request(2, input_length=[5])), "input_length", "not a number"),
        (mooncake(request(2, output_length=-0.5)), "output_length", "negative"),
        ('{"timestamp": 2, "input_length": 5}', "output_length", "missing value"),
    ],
)
def test_a_malformed_json_line_is_named_too(written, line, where, fault):
    file = written("\n".join([mooncake(request(1)), line, mooncake(request(3))]))
    column = f", column '{where}'" if where else ""
    with pytest.raises(InvalidArgument, match=f"line 2{column}: {fault}, got "):
        read_trace(file, format="mooncake")
    assert read_trace(file, format="mooncake", skip_bad_rows=True).skipped == {fault: 1}


@pytest.mark.parametrize("time", ["1e400", "inf", "nan", "99999999999", "1e11", "0x10"])
def test_a_time_that_no_clock_shows_is_refused(written, time):
    with pytest.raises(InvalidArgument, match="column 'arrived_at': not a time"):
        read_trace(written(f"{VIDUR}\n{time},1,1"))


def test_a_jump_ahead_makes_the_rows_after_it_late(written):
    file = written(f"{VIDUR}\n0,1,1\n100,1,1\n2,1,1\n3,1,1\n100,1,1")
    trace = read_trace(file, skip_bad_rows=True)
    assert trace.skipped == {"time goes back": 2}
    assert trace.arrival_times.tolist() == [0.0, 100.0, 100.0]


def test_a_row_with_another_fault_does_not_set_the_clock(written):
    file = written(f"{VIDUR}\n0,1,1\n100,0,1\n2,1,1")
    assert read_trace(file, skip_bad_rows=True).skipped == {"zero prompt tokens": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        (AZURE + "\r\n", "holds no request"),
        (b"\x1f\x8b\x08\x00\xff\xfe", "is not a text file"),
        (b"TIME\x00STAMP", "is not a text file"),
        ("TIMESTAMP,ContextTokens\n", "lacks 'GeneratedTokens', needed for format 'azure'"),
        ("a,b\n1,2\n", "its columns are 'a', 'b'. Known formats: azure"),
        (AZURE + ",ContextTokens\n", "has 2 columns 'ContextTokens'"),
        ('{"timestamp": 1, "input_length": 2}', "lacks 'output_length'"),
        (mooncake(request(1)), "accepted: 'bailian', 'mooncake'"),
        ('{"timestamp": 1', "line 1: not a JSON object"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(written, content, message):
    with pytest.raises(InvalidArgument) as caught:
        read_trace(written(content))
    assert message in str(caught.value)


def test_all_rows_malformed_is_refused_with_their_number(written):
    file = written(f"{VIDUR}\n0,0,1\n0,0,1\n")
    with pytest.raises(InvalidArgument, match=r"holds no request: .*'zero prompt tokens': 2"):
        read_trace(file, skip_bad_rows=True)


def test_a_path_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match=r"absent\.csv': No such file"):
        read_trace(tmp_path / "absent.csv")
    with pytest.raises(InvalidArgument, match="directory"):
        read_trace(tmp_path)
    with pytest.raises(
        InvalidArgument, match="path must be the path of a trace file, got path=3"
    ):
        read_trace(3)
    with pytest.raises(InvalidArgument, match="got path=b'x'"):
        read_trace(b"x")


def test_a_named_format_wins_over_what_the_columns_leave_open(written):
    file = written(mooncake(request(0), request(2000)))
    assert read_trace(file, format="mooncake").arrival_times[-1] == 2.0
    assert read_trace(file, format="bailian").arrival_times[-1] == 2000.0


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (f"{AZURE}\n{SOUND}", "azur", "did you mean 'azure'"),
        (f"{AZURE}\n{SOUND}", 3, "got format=3"),
        (f"{AZURE}\n{SOUND}", "vidur", "lacks 'num_prefill_tokens'"),
        (f"{AZURE}\n{SOUND}", "mooncake", "is comma-separated, but format='mooncake' is JSON"),
        (mooncake(request(1)), "azure", "is JSON lines"),
        (mooncake(request(1, chat_id=1)), "mooncake", "has a column 'chat_id'"),
    ],
)
def test_a_format_that_the_file_contradicts_is_refused(written, content, name, message):
    with pytest.raises(InvalidArgument) as caught:
        read_trace(written(content), format=name)
    assert message in str(caught.value)


# Each fault, and how a sound row (time, prompt, output) is turned into one that has it.
CORRUPT = {
    "wrong number of fields": lambda t, p, d: f"{t},{p}",
    "empty line": lambda t, p, d: "",
    "missing value": lambda t, p, d: f"{t},,{d}",
    "not a number": lambda t, p, d: f"{t},{p},nan",
    "not a whole number": lambda t, p, d: f"{t},{p}.25,{d}",
    "negative": lambda t, p, d: f"{t},{p},-{d}",
    "zero prompt tokens": lambda t, p, d: f"{t},0,{d}",
    "zero output tokens": lambda t, p, d: f"{t},{p},0",
    "not a time": lambda t, p, d: f"later,{p},{d}",
    "time goes back": lambda t, p, d: f"0,{p},{d}",
}

tokens = st.integers(1, 10**9)
rows = st.lists(
    st.tuples(st.integers(0, 10**6), tokens, tokens, st.sampled_from([None, *CORRUPT])),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(rows=rows)
def test_rows_in_the_file_are_rows_kept_plus_rows_reported(tmp_path_factory, rows):
    clock, lines, kept, faults = 1, [f"{VIDUR}", "1,7,7"], [(1, 7, 7)], []
    for gap, prompt, output, fault in rows:
        clock += gap
        if fault is None:
            lines.append(f"{clock},{prompt},{output}")
            kept.append((clock, prompt, output))
        else:
            lines.append(CORRUPT[fault](clock, prompt, output))
            faults.append(fault)
    # A last sound row, because empty lines at the end of a file are no rows.
    lines.append(f"{clock},7,7")
    kept.append((clock, 7, 7))
    file = tmp_path_factory.getbasetemp() / "corrupted.csv"
    file.write_text("\n".join(lines))
    trace = read_trace(file, skip_bad_rows=True)
    times, prompt, output = (list(column) for column in zip(*kept, strict=True))
    assert_requests(trace, times=[float(t - 1) for t in times], prompt=prompt, output=output)
    assert trace.skipped == {fault: faults.count(fault) for fault in set(faults)}
    assert len(lines) - 1 == len(trace) + sum(trace.skipped.values())
    if faults:
        with pytest.raises(InvalidArgument, match=faults[0]):
            read_trace(file)


@settings(max_examples=100, deadline=None)
@given(
    moment=st.datetimes(datetime(1901, 1, 1), datetime(2098, 12, 30)),
    digits=st.text("0123456789", max_size=9),
    zone=st.integers(-14 * 60, 14 * 60),
)
def test_dates_are_exact_to_the_nanosecond(tmp_path_factory, moment, digits, zone):
    start = datetime(1900, 1, 1)
    local = moment.replace(microsecond=0) + timedelta(minutes=zone)
    decimals = f".{digits}" if digits else ""
    sign, hours, minutes = "-" if zone < 0 else "+", *divmod(abs(zone), 60)
    stamp = f"{local:%Y-%m-%d %H:%M:%S}{decimals}{sign}{hours:02d}:{minutes:02d}"
    file = tmp_path_factory.getbasetemp() / "dates.csv"
    file.write_text(f"{AZURE}\n{start:%Y-%m-%d %H:%M:%S},1,1\n{stamp},1,1")
    seconds = (moment.replace(microsecond=0) - start) // timedelta(seconds=1)
    nanoseconds = seconds * 10**9 + int(digits.ljust(9, "0"))
    assert read_trace(file).arrival_times[1] == np.int64(nanoseconds) / 1e9


@settings(max_examples=100, deadline=None)
@given(st.decimals(0, 10**6, places=9), st.sampled_from(["s", "ms"]))
def test_decimal_times_are_exact_to_the_nanosecond(tmp_path_factory, time, unit):
    file = tmp_path_factory.getbasetemp() / "decimals"
    name, scale = ("bailian", 10**9) if unit == "s" else ("mooncake", 10**6)
    file.write_text(
        f'{mooncake(request(0))}\n{{"timestamp": "{time:f}", "input_length": 1, '
        f'"output_length": 1}}'
    )
    nanoseconds = int(Decimal(time) * scale)
    assert read_trace(file, format=name).arrival_times[1] == nanoseconds / 1e9
