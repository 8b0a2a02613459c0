"""A report as a page: complete, well formed, harmless, and saying what the report says."""

import re
import socket
from collections import Counter
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import assume, given, settings

import queueing_llm as ql
from queueing_llm.verify import (
    Arrival,
    Contract,
    Counterexample,
    Finding,
    Outcome,
    PolicyReport,
    Support,
    Trial,
    check_policy,
    play,
)
from queueing_llm.verify.findings._page import MEANING, page
from queueing_llm.verify.findings._page_timeline import SHOWN, timeline
from queueing_llm.verify.strategies import trials

EVIL = (
    "<script>alert(\"x\")</script><img src=x onerror='alert(1)'> $policy ${style} &amp; \ud800"
)
VOID = {"meta", "rect", "line"}
LOOKS_OUTSIDE = ("src", "href", "action", "data", "srcset", "poster", "xlink:href", "style")
STEP = ql.AffineStepTime(1, 0)


class Reader(HTMLParser):
    """Reads a page strictly: every element that is opened is closed, in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.attributes, self.words = [], Counter(), [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag not in VOID
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_data(self, words):
        if "style" not in self.open:
            self.words.append(words)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def check_that_it_is_harmless(self):
        assert not self.seen.keys() & {"script", "img", "iframe", "object", "link", "embed"}
        for tag, name, value in self.attributes:
            assert not name.startswith("on"), (tag, name)
            if name in LOOKS_OUTSIDE:
                assert re.fullmatch(r"#counterexample-\d+", value), (tag, name, value)


@pytest.fixture(scope="module")
def report():
    names = ["token_budget", "progress", "work_conserving", "oldest_first", "batch_size"]
    return check_policy(ql.VANILLA_VLLM, contracts=names)


def test_everything_that_the_report_says_is_on_the_page(report, monkeypatch):
    monkeypatch.setattr(socket, "socket", pytest.fail)
    text = page(report, command="queueing-llm verify vanilla_vllm")
    read = Reader(text)
    read.check_that_it_is_harmless()
    for finding in report.findings:
        contract = finding.contract
        said = [contract.name, contract.definition, contract.source, contract.implies]
        for words in [*said, finding.basis, finding.outcome.value, finding.support.value]:
            assert " ".join(words.split()) in read.text
        if finding.counterexample is not None:
            snippet = finding.counterexample.snippet()
            assert snippet in unescape(text)
    for sentence in (*report.consequences, "queueing-llm verify vanilla_vllm", "2 hold"):
        assert sentence in read.text
    assert read.seen["svg"] == len(report.violated) == 3
    assert ("html", "lang", "en") in read.attributes
    assert "prefers-color-scheme: dark" in text


def test_links_lead_to_counterexamples(report):
    text = page(report)
    targets = set(re.findall(r'id="(counterexample-\d+)"', text))
    assert targets == set(re.findall(r'href="#(counterexample-\d+)"', text))
    assert len(targets) == 3


def test_nothing_comes_from_anywhere_else(report):
    text = page(report)
    assert not re.search(r"url\(|@import|https?:|//[a-z]", text)


def test_a_report_without_breaches_has_no_pictures():
    read = Reader(page(check_policy(ql.SARATHI, contracts=["token_budget"])))
    assert read.seen["svg"] == 0
    assert "Counterexamples" not in read.text
    assert "1 hold" in read.text


def wicked(state):
    raise ValueError(EVIL)


def test_whatever_comes_from_a_policy_is_shown_and_does_nothing():
    engine = ql.Engine(STEP, 2)
    played = play(wicked, Trial(engine, (Arrival(0, 1, 1),)))
    assert EVIL in played.decisions[0].failure
    contract = Contract(EVIL, EVIL, EVIL, EVIL, "run", lambda _: (0, EVIL))
    found = Counterexample(played, EVIL)
    finding = Finding(contract, Outcome.VIOLATED, Support.COUNTEREXAMPLE, EVIL, found)
    text = page(PolicyReport(EVIL, (finding,)), command=EVIL)
    text.encode("utf-8")
    read = Reader(text)
    read.check_that_it_is_harmless()
    shown = EVIL.replace("\ud800", "?")
    assert read.text.count(shown) >= 8
    assert "?" in timeline(found)


def test_every_grade_is_explained(report):
    text = Reader(page(report)).text
    assert all(f"{support.value} {MEANING[support]}" in text for support in Support)


def test_the_same_report_makes_the_same_page(report):
    assert page(report) == page(report)


def boxes(picture):
    """Return the kinds of boxes, row by row, and what is written in them."""
    found = re.findall(r'<g class="box (\w+)">.*?<text[^>]*>([^<]*)</text></g>', picture)
    return [(kind, unescape(mark)) for kind, mark in found]


def drawn(policy, trial, decisions=None):
    played = play(policy, trial)
    return timeline(
        Counterexample(replace(played, decisions=played.decisions[:decisions]), "x")
    )


def test_a_picture_has_a_box_for_each_request_that_is_there():
    engine = ql.Engine(STEP, 3, max_batch_size=2, kv_capacity=4)
    trial = Trial(engine, (Arrival(0, 2, 2), Arrival(0, 1, 2), Arrival(2, 1, 1)))
    picture = drawn(ql.SARATHI, trial)
    first, last = ("prefill", "p1"), ("decode", "d")
    assert boxes(picture) == [
        *[("prefill", "p2"), last, last],
        *[first, ("preempted", "×"), ("waits", "·"), first, last, last],
        *[("waits", "·"), first, last],
    ]
    words = Reader(picture).text
    assert words.startswith("breaks step 0 1 2 3 4 5 request 0")
    assert "step 1, request 1: preempted, 1 tokens lost, and gets 0" in words
    counts = "tokens of 3 3 1 1 2 2 1 requests of 2 2 1 1 2 2 1 KV tokens of 4 3 3 4 2 4 3"
    assert words.endswith(counts)


@settings(max_examples=30)
@given(trial=trials())
def test_a_picture_says_what_the_text_says(trial):
    """The boxes are the marks of the timeline in words, and the bars are drawn to scale."""
    played = play(ql.VLLM_V1, trial)
    assume(len(played.decisions) <= SHOWN)  # of a longer one only a part is drawn
    found = Counterexample(played, "made up")
    picture = timeline(found)
    Reader(picture)
    words = [line.split()[2:] for line in found.timeline().splitlines() if "request" in line]
    marks = [mark.replace("x", "×").replace(".", "·") for line in words for mark in line]
    assert [mark for _, mark in boxes(picture)] == marks
    bars = re.findall(
        r'class="bar (\w+)" x="(\d+)" y="([\d.]+)" width="\d+" height="([\d.]+)"', picture
    )
    line = re.search(r'class="budget" .*?y1="([\d.]+)"', picture)
    floor = re.search(r'class="floor" .*?y1="([\d.]+)"', picture)
    per_token = (float(floor[1]) - float(line[1])) / trial.engine.token_budget
    heights = Counter()
    for _, x, _, height in bars:
        heights[int(x)] += float(height) / per_token
    totals = [int(d.batch.tokens.sum()) for d in played.decisions]
    assert [heights[x] for x in sorted(heights)] == pytest.approx(totals, abs=0.3)


def test_a_batch_over_budget_stands_above_the_line():
    def greedy(state):
        return ql.Batch(np.maximum(state.prompt_left, 1))

    picture = drawn(greedy, Trial(ql.Engine(STEP, 2), (Arrival(0, 8, 1),)))
    line = float(re.search(r'class="budget" .*?y1="([\d.]+)"', picture)[1])
    top = float(re.search(r'class="bar prefill" x="\d+" y="([\d.]+)"', picture)[1])
    assert top < line


def test_who_is_preempted_and_served_is_shown_as_both():
    def confused(state):
        return ql.Batch(np.minimum(1, state.request * 0 + 1), state.stored > 0)

    picture = drawn(confused, Trial(ql.Engine(STEP, 2), (Arrival(0, 1, 2),)))
    assert boxes(picture) == [("prefill", "p1"), ("preempted", "×1")]


def test_blocks_are_counted_as_blocks():
    engine = ql.Engine(STEP, 8, kv_capacity=16, kv_block_size=4)
    trial = Trial(engine, (Arrival(0, 5, 1), Arrival(0, 1, 1)))
    words = Reader(drawn(ql.SARATHI, trial, decisions=1)).text
    assert words.endswith("tokens of 8 6 KV blocks of 4 3")


def test_a_long_play_shows_its_end():
    trial = Trial(ql.Engine(STEP, 1), (Arrival(0, 1, SHOWN + 7),))
    played = play(ql.SARATHI, trial)
    found = Counterexample(played, "at last")
    contract = Contract("short", "plays are short", "ours", "", "run", lambda _: None)
    finding = Finding(contract, Outcome.VIOLATED, Support.COUNTEREXAMPLE, "at last", found)
    text = page(PolicyReport("slow", (finding,)))
    assert "The first 8 steps are left out." in text
    assert boxes(text) == [("decode", "d")] * SHOWN
    numbers = [int(n) for n in re.findall(r'<text class="step"[^>]*>(\d+)</text>', text)]
    assert numbers == list(range(8, SHOWN + 8))


def test_a_state_without_its_way_is_said_to_be_one():
    played = play(ql.SARATHI, Trial(ql.Engine(STEP, 1), (Arrival(0, 1, 1),)))
    alone = replace(played, trial=Trial(ql.Engine(STEP, 1), ()), decisions=played.decisions[:1])
    contract = Contract("none", "nothing", "ours", "", "batch", lambda *_: "x")
    finding = Finding(
        contract, Outcome.VIOLATED, Support.COUNTEREXAMPLE, "x", Counterexample(alone, "x")
    )
    assert "found by enumeration" in page(PolicyReport("p", (finding,)))
