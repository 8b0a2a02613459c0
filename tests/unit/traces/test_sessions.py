"""Agent sessions: what a file may hold, what is refused, and the published figures."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import queueing_llm as ql
from queueing_llm.errors import InvalidArgument
from queueing_llm.traces._sessions import SessionTrace
from queueing_llm.traces._sessions_facts import session_facts
from queueing_llm.traces._sessions_network import session_network
from queueing_llm.traces._sessions_read import read_sessions

RECORDED = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "agent_sessions"
HEADER = (
    "trace,agent,idx,t_s,in_tokens,out_tokens,prefix_hit_blocks,stop,input_types,think_time_s"
)
ROWS = (
    "a,main,0,0,300,20,0,tool_use,text,0",
    "a,main/agent_001,0,0,100,5,0,tool_use,text,0",
    "a,main/agent_001,1,3.5,200,6,1,end_turn,tool_result,1.25",
    "a,main,1,9,420,10,4,end_turn,text+tool_result,2",
    "a,main,3,60,500,30,6,,text,40",
    "b,main,0,0,64,0,1,end_turn,text,",
)
ENGINE = ql.Engine(step_time=ql.AffineStepTime(base=0.01, per_token=0.0002), token_budget=512)


@pytest.fixture
def written(tmp_path):
    """Return a function that writes rows below a header and gives the path."""

    def write(*rows: str, header: str = HEADER) -> Path:
        file = tmp_path / "tiny.csv"
        file.write_text("\n".join([header, *rows]), encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="module")
def recorded():
    file = RECORDED / "compact_requests.csv"
    if not file.exists():
        pytest.skip(f"the sessions {file.name} are not beside the repository")
    return read_sessions(file)


def test_calls_are_sorted_by_session_agent_and_position(written):
    trace = read_sessions(written(*ROWS))
    assert trace.name == "tiny"
    assert trace.session.tolist() == [0, 0, 0, 0, 0, 1]
    assert trace.agent.tolist() == [0, 0, 0, 1, 1, 0]
    assert trace.position.tolist() == [0, 1, 3, 0, 1, 0]
    assert trace.times.tolist() == [0, 9, 60, 0, 3.5, 0]
    assert trace.context_tokens.tolist() == [300, 420, 500, 100, 200, 64]
    assert trace.output_tokens.tolist() == [20, 10, 30, 5, 6, 0]
    assert trace.cached_tokens.tolist() == [0, 256, 384, 0, 64, 64]
    assert trace.uncached_tokens.tolist() == [300, 164, 116, 100, 136, 0]
    assert trace.stop.tolist() == [
        "tool_use",
        "end_turn",
        "",
        "tool_use",
        "end_turn",
        "end_turn",
    ]
    assert trace.opens_turn.tolist() == [True, False, True, True, False, True]
    assert trace.think_times[:-1].tolist() == [0, 2, 40, 0, 1.25]
    assert np.isnan(trace.think_times[-1])
    assert (trace.session_count, trace.sub_agent_count, len(trace)) == (2, 1, 6)


def test_counts_of_calls_are_exact(written):
    trace = read_sessions(written(*ROWS))
    assert trace.calls_per_session.mean == 3
    assert trace.of_main_agents().calls_per_session.mean == 2
    assert sorted(trace.calls_per_turn.values) == [1, 1, 2, 2]
    assert trace.chance_of_another_call(1) == Fraction(1, 2)
    assert trace.chance_of_another_call(2) == 0
    assert trace.chance_of_another_call(3) is None
    assert trace.context_growth.tolist() == [120, 80, 100]


def test_facts_of_a_small_file(written):
    facts = session_facts(read_sessions(written(*ROWS)))
    assert (facts.sessions, facts.sub_agents, facts.calls, facts.turns) == (2, 1, 6, 4)
    assert facts.uncached.mean == pytest.approx(816 / 6)
    assert facts.context_growth == 100
    # Whole blocks sent: 4 + 6 + 7 + 1 + 3 + 1.
    assert facts.prefix_hit == Fraction(4 + 6 + 1 + 1, 22)
    assert facts.tool_share == Fraction(2, 5)
    assert (facts.think_after_tool, facts.think_after_turn) == (1.625, 40)


def test_facts_that_nothing_was_recorded_about_are_none(written):
    facts = session_facts(read_sessions(written("a,main,0,0,300,20,0,,text,")))
    assert facts.tool_share is None
    assert facts.think_after_tool is None
    assert facts.context_growth is None


def test_the_first_call_of_an_agent_follows_no_answer(written):
    ends = "{},main,0,0,300,20,0,end_turn,text,{}"
    trace = read_sessions(written(ends.format("a", 0), ends.format("b", 7)))
    assert session_facts(trace).think_after_turn is None


def test_the_order_of_columns_and_further_columns_do_not_matter(written):
    header = "think_time_s,extra," + ",".join(HEADER.split(",")[:-1])
    rows = [f"{r.rsplit(',', 1)[1]},x,{r.rsplit(',', 1)[0]}" for r in ROWS]
    one, other = read_sessions(written(*ROWS)), read_sessions(written(*rows, header=header))
    assert np.array_equal(one.context_tokens, other.context_tokens)
    assert np.array_equal(one.think_times, other.think_times, equal_nan=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,main,1,9,x,10,4,,text,2", "line 3, column 'in_tokens': not a number, got 'x'"),
        ("a,main,1,9,0,10,0,,text,2", "column 'in_tokens': zero context tokens"),
        ("a,main,1,9,,10,4,,text,2", "column 'in_tokens': missing value"),
        ("a,main,1,9,420,-1,4,,text,2", "column 'out_tokens': not a whole number"),
        ("a,main,1,9,420,10,7,,text,2", "column 'prefix_hit_blocks': more than the tokens"),
        ("a,main,1,9,420,10,.5,,text,2", "column 'prefix_hit_blocks': not a whole number"),
        ("a,main,1,soon,420,10,4,,text,2", "column 't_s': not a time"),
        ("a,main,1,-1,420,10,4,,text,2", "column 't_s': negative"),
        ("a,main,1,9,420,10,4,,text,long", "column 'think_time_s': not a time"),
        ("a,main,0,9,420,10,4,,text,2", "line 3, column 'idx': position is taken"),
        ("a,helper,1,9,420,10,4,,text,2", "column 'agent': not an agent, got 'helper'"),
        (",main,1,9,420,10,4,,text,2", "column 'trace': missing value"),
        ("a,main,1,9,420,10,4,,text", "line 3: wrong number of fields"),
        ("", "line 3: empty line"),
    ],
)
def test_a_malformed_row_is_named(written, row, message):
    with pytest.raises(InvalidArgument) as caught:
        read_sessions(written(ROWS[0], row, ROWS[-1]))
    assert message in str(caught.value)
    assert "accepted: " in str(caught.value)


def test_time_that_goes_back_within_an_agent_is_refused_and_across_agents_is_not(written):
    late = ROWS[0].replace("0,0,300", "0,70,300")
    with pytest.raises(InvalidArgument, match="line 4, column 't_s': time goes back, got '60'"):
        read_sessions(written(late, ROWS[1], ROWS[4]))
    assert len(read_sessions(written(late, *ROWS[1:3]))) == 3


def test_a_missing_column_is_named_with_the_nearest(written):
    with pytest.raises(InvalidArgument, match="did you mean 'in_token'"):
        read_sessions(written(*ROWS, header=HEADER.replace("in_tokens", "in_token")))
    with pytest.raises(InvalidArgument, match="use read_trace"):
        read_sessions(written("1,2,3", header="TIMESTAMP,ContextTokens,GeneratedTokens"))
    with pytest.raises(InvalidArgument, match="2 columns 'idx'"):
        read_sessions(written(*ROWS, header=HEADER.replace("t_s", "idx")))
    with pytest.raises(InvalidArgument, match="holds no call"):
        read_sessions(written())


def test_a_file_that_is_not_there():
    with pytest.raises(InvalidArgument, match="No such file"):
        read_sessions("nowhere.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"session": [0, 2]}, "session must count up from 0"),
        ({"session": [1, 1]}, "session must count up from 0"),
        ({"position": [1, 1]}, "calls must be sorted"),
        ({"agent": [1, 0]}, "calls must be sorted"),
        ({"times": [2, 1]}, "calls must be sorted"),
        ({"times": [np.nan, 1]}, "times must be numbers"),
        ({"times": [0]}, "times has 1 rows, session has 2"),
        ({"cached_tokens": [0, 11]}, "cached_tokens must not exceed context_tokens"),
        ({"think_times": [0, -1]}, "think_times must be numbers of at least 0"),
        ({"context_tokens": [0, 10]}, "context_tokens must be at least 1"),
    ],
)
def test_a_session_trace_checks_its_columns(change, message):
    columns = {
        "session": [0, 0],
        "agent": [0, 0],
        "position": [0, 1],
        "times": [0, 1],
        "context_tokens": [10, 10],
        "output_tokens": [1, 1],
        "cached_tokens": [0, 10],
        "opens_turn": [True, False],
        "stop": ["", ""],
        "think_times": [0, np.nan],
    }
    assert len(SessionTrace("two", **columns)) == 2
    with pytest.raises(InvalidArgument, match=message):
        SessionTrace("two", **(columns | change))


def test_columns_are_copies_that_cannot_be_written(written):
    trace = read_sessions(written(*ROWS))
    with pytest.raises(ValueError, match="read-only"):
        trace.context_tokens[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        trace.opens_turn[0] = False


@given(
    st.lists(
        st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_every_call_belongs_to_one_turn_and_one_session(sessions):
    """Turns and sessions counted by plain loops; opens[s][a] are the calls of one agent."""
    rows = [
        (s, a, i, opens)
        for s, agents in enumerate(sessions)
        for a, calls in enumerate(agents)
        for i, opens in enumerate(calls)
    ]
    columns = np.array(rows)
    count = len(rows)
    trace = SessionTrace(
        "drawn",
        session=columns[:, 0],
        agent=columns[:, 1],
        position=columns[:, 2],
        times=columns[:, 2],
        context_tokens=np.ones(count, dtype=int),
        output_tokens=np.ones(count, dtype=int),
        cached_tokens=np.zeros(count, dtype=int),
        opens_turn=columns[:, 3],
        stop=[""] * count,
        think_times=np.zeros(count),
    )
    turns: list[int] = []
    for _, _, i, opens in rows:
        if i == 0 or opens:
            turns.append(0)
        turns[-1] += 1
    assert list(trace.calls_per_turn.values) == turns
    assert list(trace.calls_per_session.values) == [sum(map(len, a)) for a in sessions]
    survivors = Fraction(len(turns))
    for calls in range(1, max(turns) + 1):
        assert survivors == sum(turn >= calls for turn in turns)
        survivors *= trace.chance_of_another_call(calls)
    assert survivors == 0
    main = trace.of_main_agents()
    assert list(main.calls_per_session.values) == [len(agents[0]) for agents in sessions]


# Reference figures of the public file: main agents, percentiles interpolated.
HAZARD = (0.501, 0.702, 0.795, 0.859, 0.887, 0.918, 0.910, 0.908, 0.940, 0.933)


def scv(law) -> float:
    return float(law.second_moment / law.mean**2 - 1)


def test_the_public_file_has_its_published_figures(recorded):
    facts = session_facts(recorded)
    assert (facts.calls, facts.sessions, facts.sub_agents) == (34_150, 474, 38)
    assert len(set(recorded.session[recorded.agent > 0])) == 12
    assert np.sum(recorded.agent > 0) / 38 == pytest.approx(10.5, abs=0.05)
    main = recorded.of_main_agents()
    facts = session_facts(main)
    calls, turns = main.calls_per_session, main.calls_per_turn
    assert (round(float(calls.mean), 1), round(scv(calls), 2)) == (71.2, 1.06)
    assert [round(q) for q in np.percentile(calls.values, [50, 99])] == [48, 326]
    assert (facts.turns, round(float(turns.mean), 2), round(scv(turns), 2)) == (4872, 6.93, 5.0)
    assert np.percentile(turns.values, [50, 90, 99]).tolist() == [2, 18, 83]
    assert round(float(facts.tool_share), 3) == 0.941
    assert round(float(facts.prefix_hit), 3) == 0.964
    assert (
        tuple(round(float(main.chance_of_another_call(k)), 3) for k in range(1, 11)) == HAZARD
    )
    assert round(facts.context.mean) == 123_035
    assert round(np.percentile(main.context_tokens, 90)) == 237_396
    spread = facts.output.second_moment / facts.output.mean**2 - 1
    assert (round(facts.output.mean), round(spread, 2)) == (431, 2.74)
    assert (round(facts.uncached.mean), facts.uncached.median) == (4421, 717)
    assert (facts.think_after_tool, facts.think_after_turn) == (9, 221)


def test_the_calls_of_the_public_file_are_not_geometric(recorded):
    """The chance to go on rises with the calls made; geometric calls would keep it."""
    main = recorded.of_main_agents()
    early, late = main.chance_of_another_call(1), main.chance_of_another_call(9)
    turns = np.asarray(main.calls_per_turn.values)
    error = np.sqrt(float(late * (1 - late)) / np.sum(turns >= 9))
    assert float(late - early) > 20 * error


def test_the_network_of_sessions_has_their_mean_work(written):
    trace = read_sessions(written(*ROWS))
    network = session_network(trace, engine=ENGINE, sessions_per_second=Fraction(1, 100))
    (visit,) = network.visits
    assert network.moves == ()
    assert network.engines[0].engine is ENGINE
    moments = visit.lengths.moments
    # The cached prompt of session b and its empty output count one token each.
    assert visit.turns.mean * moments.prompt == Fraction(816 + 1, 2)
    assert visit.turns.mean * moments.output == Fraction(71 + 1, 2)
    assert visit.delay == Fraction(4325, 500)
    assert visit.has_random_delay
    assert visit.arrivals.rate == Fraction(1, 100)


def test_without_a_prefix_cache_the_whole_context_is_prefilled(written):
    trace = read_sessions(written(*ROWS))
    network = session_network(
        trace, engine=ENGINE, sessions_per_second=1, prefix_cache=False, policy=ql.ORCA
    )
    assert network.visits[0].lengths.moments.prompt == Fraction(1584, 6)
    assert network.engines[0].policy is ql.ORCA


def test_an_engine_that_counts_cached_tokens_needs_the_whole_context(written):
    trace = read_sessions(written(*ROWS))
    full = ql.Engine(step_time=ENGINE.step_time, token_budget=512, kv_capacity=10_000)
    reads = ql.AffineStepTime(base=0.01, per_token=0.0002, per_kv_token=1e-7)
    reading = ql.Engine(step_time=reads, token_budget=512)
    for engine in (full, reading):
        with pytest.raises(InvalidArgument, match="counts the cached context"):
            session_network(trace, engine=engine, sessions_per_second=1)
        session_network(trace, engine=engine, sessions_per_second=1, prefix_cache=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sessions_per_second": 0}, "sessions_per_second must be a finite number above 0"),
        ({"engine": "fast"}, "engine must be of type Engine"),
        ({"prefix_cache": 1}, "prefix_cache must be of type bool"),
    ],
)
def test_bad_arguments_of_the_network(written, change, message):
    given = {"engine": ENGINE, "sessions_per_second": 1} | change
    with pytest.raises(InvalidArgument, match=message):
        session_network(read_sessions(written(*ROWS)), **given)


@pytest.mark.parametrize("calls", [0, -1, 1.5, True])
def test_a_number_of_calls_is_a_positive_integer(written, calls):
    with pytest.raises(InvalidArgument, match="calls must be an integer of at least 1"):
        read_sessions(written(*ROWS)).chance_of_another_call(calls)
