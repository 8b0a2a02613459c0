"""Networks of agents: every kind of answer, on systems where the answer is known."""

from fractions import Fraction as F

import networkx as nx
import pytest

import queueing_llm as ql
from queueing_llm.certificates import Rejected, check, check_network_certificate
from queueing_llm.decide import _network, _network_advice, _network_scalings
from queueing_llm.networks import multiclass
from queueing_llm.scenarios import load_network

SLOT = ql.AffineStepTime(base=1, per_token=0)
GPU = ql.Engine(SLOT, token_budget=768)


def chain(*engines, prompt=32, rate=1, gpu=GPU, **attributes):
    """Return agents that a session visits one after the other, on the engines named."""
    graph = nx.DiGraph(engines=dict.fromkeys(engines, gpu))
    for hop, name in enumerate(engines):
        graph.add_node(hop, engine=name, prompt_tokens=prompt, output_tokens=32, **attributes)
    graph.nodes[0]["arrival_rate"] = rate
    nx.add_path(graph, range(len(engines)))
    return graph


def crossing(load, *, exit_first=True, floats=False, policy="sarathi"):
    """Return the pair of agents of section 5.4 of arXiv:2504.07347v3."""
    graph = nx.DiGraph(engines={"left": GPU, "right": GPU})
    graph.graph["policies"] = {"left": policy, "right": policy}
    rate = load * F(768, 608)
    for kind, first, then in (("a", "left", "right"), ("b", "right", "left")):
        graph.add_node(
            f"{kind} short", engine=first, prompt_tokens=32, output_tokens=32,
            priority=int(exit_first), arrival_rate=float(rate) if floats else rate,
        )  # fmt: skip
        graph.add_node(
            f"{kind} long", engine=then, prompt_tokens=512, output_tokens=32,
            priority=int(not exit_first),
        )  # fmt: skip
        graph.add_edge(f"{kind} short", f"{kind} long")
    return graph


def answer(graph, **options):
    return ql.check_network(ql.AgentNetwork(graph), **options)


def grade(verdict):
    return verdict.status.name, verdict.evidence.name


class TestCrossing:
    """arXiv:2504.07347v3, section 5.4; thresholds 608/1088 and 24/35 * 608/768 derived."""

    def test_exit_priority_at_nine_tenths(self):
        verdict = answer(crossing(F(9, 10)))
        assert grade(verdict) == ("UNSTABLE", "PROVED")
        assert verdict.growth_factor == F(153, 37) ** 2
        assert "4.135 times for each" in verdict.reason
        assert verdict.virtual_stations == ("a long + b long: load 1.6105",)
        assert verdict.any_policy_scaling * F(9, 10) == F(608, 1088)
        assert verdict.any_order_scaling * F(9, 10) == F(19, 35)
        assert verdict.stable_scaling == verdict.any_policy_scaling
        assert 0 < verdict.unstable_scaling / verdict.stable_scaling - 1 < 1e-4
        assert check(verdict.certificate.document).kind == "network-growth"

    def test_reversed_priorities(self):
        verdict = answer(crossing(F(9, 10), exit_first=False))
        assert grade(verdict) == ("STABLE", "PROVED")
        assert check(verdict.certificate.document).kind == "network-stability"
        assert verdict.stable_scaling > F(10, 9) * (1 - F(1, 10**4))

    @pytest.mark.parametrize(
        ("load", "status"), [(F(55, 100), "STABLE"), (F(56, 100), "UNSTABLE")]
    )
    def test_both_sides_of_the_threshold(self, load, status):
        assert grade(answer(crossing(load))) == (status, "PROVED")

    def test_at_the_threshold(self):
        verdict = answer(crossing(F(608, 1088)), find_scalings=False)
        assert grade(verdict) == ("UNDECIDED", "NONE")

    def test_advice_is_taken(self):
        verdict = answer(crossing(F(9, 10)))
        assert verdict.advice[0].startswith("stable with these priorities: at left")
        better = ql.AgentNetwork(crossing(F(9, 10))).with_priorities({"a short": -1})
        assert "a short before b long" in verdict.advice[0]
        assert grade(ql.check_network(better)) == ("STABLE", "PROVED")

    def test_advice_does_not_take_long_where_there_are_many_orders(self, monkeypatch):
        # 16 classes at 4 engines: a try takes about a second, and 200 were allowed.
        asked = []

        def never(network, *, priority=None):
            asked.append(priority)

        monkeypatch.setattr(_network_advice, "stability_pieces", never)
        graph = nx.DiGraph(engines=dict.fromkeys("abcd", GPU))
        routes = [("abcd"[c:] + "abcd"[:c]) for c in range(4)]
        graph.graph["classes"] = {
            str(c): {"route": list(route), "arrival_rate": 1, "priority": c}
            for c, route in enumerate(routes)
        }
        for name in "abcd":
            graph.add_node(name, engine=name, prompt_tokens=100, output_tokens=10)
        own = multiclass(ql.AgentNetwork(graph))
        assert own.priority is not None
        assert _network_advice._priority_change(own) is None
        assert 0 < len(asked) <= 10

    def test_floats_prove_nothing(self):
        verdict = answer(crossing(F(9, 10), floats=True), find_scalings=False)
        assert grade(verdict) == ("UNSTABLE", "NUMERICAL")
        assert verdict.certificate is None

    def test_prompts_first_may_reorder_phases(self):
        assert grade(answer(crossing(F(54, 100), policy="orca"))) == ("STABLE", "PROVED")
        verdict = answer(crossing(F(55, 100), policy="orca"))
        assert grade(verdict) == ("UNDECIDED", "NONE")
        assert verdict.stable_scaling * F(55, 100) == F(19, 35)
        assert "left: serve decodes first" in verdict.advice[0]

    def test_the_certificate_is_about_this_network(self):
        network = ql.AgentNetwork(crossing(F(9, 10)))
        certificate = ql.check_network(network, find_scalings=False).certificate
        fluid = multiclass(network)
        checked = check_network_certificate(certificate, fluid.network, priority=fluid.priority)
        assert checked.kind == "network-growth"
        other = multiclass(ql.AgentNetwork(crossing(F(8, 10))))
        with pytest.raises(Rejected, match="another system"):
            check_network_certificate(certificate, other.network, priority=other.priority)


class TestForward:
    @pytest.mark.parametrize("rate", [F(1), F(11)], ids=["light", "load 11/12"])
    def test_tandem(self, rate):
        verdict = answer(chain("first", "first", "second", rate=rate / 2))
        assert grade(verdict) == ("STABLE", "PROVED")
        assert verdict.bottleneck == "first"
        assert verdict.engines[0].load == rate / 12
        assert verdict.stable_scaling == verdict.unstable_scaling == 12 / rate

    def test_boundary(self):
        verdict = answer(chain("first", "first", rate=6))
        assert grade(verdict) == ("UNDECIDED", "NONE")
        assert "exactly 1" in verdict.reason

    def test_overload_names_the_first_engine_only(self):
        graph = chain("first", "second", rate=F(144, 10))
        verdict = answer(graph)
        assert grade(verdict) == ("UNSTABLE", "PROVED")
        assert check(verdict.certificate.document).kind == "network-overload"
        assert "share its visits among 2 such engines" in verdict.advice[0]

    def test_two_engines_behind_one_agent(self):
        graph = nx.DiGraph(engines={"one": GPU, "two": GPU})
        graph.add_node("agent", engine=["one", "two"], prompt_tokens=32, output_tokens=32)
        for rate, status in ((23, "STABLE"), (24, "UNDECIDED"), (25, "UNSTABLE")):
            graph.nodes["agent"]["arrival_rate"] = rate
            assert answer(graph).status.name == status, rate

    def test_packaged_fork_join(self):
        network = load_network("fork-join").network
        verdict = ql.check_network(network)
        assert grade(verdict) == ("STABLE", "PROVED")
        assert verdict.bottleneck == "worker_1"
        rate = float(verdict.arrival_rate * verdict.stable_scaling)
        assert rate == pytest.approx(3.34290937581614)  # theory of this example

    def test_a_dag_of_agents_on_engines_that_sessions_come_back_to(self):
        # The tasks are a chain; the engines are not.
        verdict = answer(chain("a", "b", "a", "b", rate=F(7, 2)))
        assert verdict.evidence.name == "PROVED"
        assert "Lyapunov" in verdict.reason


class TestFullBatchesAreNotTheBest:
    """Five tokens take .75 s, eight take 1.25 s: 20/3 and 6.4 tokens per second."""

    GPU = ql.Engine(ql.StaircaseStepTime(F(1, 4), F(1, 2), 5), token_budget=8)

    def test_between_full_and_best_batches(self):
        # 8 tokens a request: full batches serve 0.8 requests per second, the best 0.8333.
        graph = nx.DiGraph(engines={"a": self.GPU})
        graph.add_node("agent", engine="a", prompt_tokens=5, output_tokens=3)
        graph.nodes["agent"]["arrival_rate"] = F(82, 100)
        verdict = answer(graph)
        assert grade(verdict) == ("UNSTABLE", "NUMERICAL")
        assert verdict.nominal_scaling > 1
        assert verdict.stable_scaling == verdict.unstable_scaling == F(80, 82)
        assert len(verdict.advice) == 1
        assert verdict.advice[0].startswith("a needs 1.025 times what its full batches serve")

    def test_the_scalings_agree_with_the_verdict_where_sessions_come_back(self):
        verdict = answer(chain("a", "b", "a", "b", prompt=5, gpu=self.GPU, rate=F(865, 10**4)))
        assert grade(verdict) == ("UNSTABLE", "NUMERICAL")
        assert verdict.unstable_scaling < 1 < verdict.nominal_scaling


class TestReadsOfTheCache:
    GPU = ql.Engine(ql.AffineStepTime(1, 0, F(1, 10**5)), token_budget=768)

    @pytest.mark.parametrize("engines", ["ab", "abab"])
    def test_no_higher_grade_than_for_one_engine(self, engines):
        """One such engine is stable by a numerical argument of ours; so are several."""
        workload = ql.Workload.poisson(arrival_rate=1, prompt_tokens=32, output_tokens=32)
        alone = ql.check_stability(self.GPU, workload, policy=ql.SARATHI)
        verdict = answer(chain(*engines, gpu=self.GPU), find_scalings=False)
        assert grade(alone) == grade(verdict) == ("STABLE", "NUMERICAL")
        assert verdict.certificate is None

    def test_overload_is_proved_all_the_same(self):
        verdict = answer(chain("a", "b", gpu=self.GPU, rate=13))
        assert grade(verdict) == ("UNSTABLE", "PROVED")


class TestHypotheses:
    def test_mean_contexts_do_not_matter_without_a_way_back(self):
        graph = chain("a", "b", "b")
        for hop in (0, 1):
            graph.edges[hop, hop + 1]["carries_context"] = True
        graph.nodes[1]["arrival_rate"] = 1
        verdict = answer(graph)
        assert grade(verdict) == ("STABLE", "PROVED")
        assert all(hypothesis.holds for hypothesis in verdict.hypotheses)
        load = max(engine.load for engine in verdict.engines)
        assert verdict.stable_scaling == verdict.unstable_scaling == 1 / load

    def test_an_overload_needs_nothing_of_the_policies(self):
        graph = chain("a", "b", rate=20)
        graph.graph["policies"] = {"b": "vanilla_vllm"}
        verdict = answer(graph)
        assert grade(verdict) == ("UNSTABLE", "PROVED")
        assert verdict.hypotheses == ()

    def test_what_does_not_hold_is_listed_where_nothing_is_decided(self):
        graph = chain("a", "b")
        graph.graph["policies"] = {"b": "vanilla_vllm"}
        assert not all(hypothesis.holds for hypothesis in answer(graph).hypotheses)


class TestFoundAtLargerRates:
    """A search that starts at larger rates may find what the one at the rates misses."""

    @pytest.fixture(autouse=True)
    def _misses(self, monkeypatch):
        monkeypatch.setattr(_network, "stability_pieces", lambda *_, **__: None)

    @pytest.mark.parametrize(
        ("rate", "slope", "evidence"),
        [(F(1), 0, "PROVED"), (1.0, 0, "NUMERICAL"), (F(1), F(1, 10**6), "NUMERICAL")],
    )
    def test_the_verdict_is_no_less_than_its_scaling(self, rate, slope, evidence):
        gpu = ql.Engine(ql.AffineStepTime(1, 0, slope), token_budget=768)
        graph = chain(*"abcabc", rate=rate, gpu=gpu)
        for hop, rank in enumerate((0, 5, 3, 1, 4, 6)):
            graph.nodes[hop]["priority"] = rank
        assert answer(graph, find_scalings=False).status.name == "UNDECIDED"
        verdict = answer(graph)
        assert verdict.stable_scaling >= 1
        assert grade(verdict) == ("STABLE", evidence)
        assert (verdict.certificate is not None) == (evidence == "PROVED")
        if verdict.certificate is not None:
            assert check(verdict.certificate.document).kind == "network-stability"


def test_scalings_of_large_networks_are_not_searched(monkeypatch):
    # Thirty engines and 120 classes took forty seconds.
    monkeypatch.delattr(_network_scalings, "critical_scaling")
    graph = chain(*"abcde" * 13, rate=F(1, 100))
    graph.nodes[0]["output_tokens"] = 33  # else a theorem on equal work holds up to load 1
    verdict = answer(graph)
    assert verdict.status.name == "STABLE"
    assert verdict.stable_scaling == 1
    assert verdict.basis.startswith("65 classes are too many to search")
    assert verdict.unstable_scaling == verdict.nominal_scaling


def test_a_graph_is_no_network():
    with pytest.raises(ql.InvalidArgument, match="network must be of type AgentNetwork"):
        ql.check_network(chain("a", "b"))


class TestNotDecided:
    def test_a_rule_that_does_not_fill_batches(self):
        graph = chain("a", "b")
        graph.graph["policies"] = {"b": "vanilla_vllm"}
        verdict = answer(graph)
        assert grade(verdict) == ("UNDECIDED", "NONE")
        assert "b" in verdict.reason
        assert verdict.stable_scaling is None
        assert verdict.advice == ("b: take a rule that fills its batches, such as sarathi",)

    @pytest.mark.parametrize("limit", [{"max_batch_size": 8}, {"kv_capacity": 4096}])
    def test_limits(self, limit):
        gpu = ql.Engine(SLOT, token_budget=768, **limit)
        verdict = answer(chain("a", "b", gpu=gpu, rate=F(1, 100)))
        assert grade(verdict) == ("UNDECIDED", "NONE")
        assert "nothing but the token budget" in verdict.reason

    def test_overload_under_a_limit_is_still_known(self):
        gpu = ql.Engine(SLOT, token_budget=768, max_batch_size=8)
        assert grade(answer(chain("a", "b", gpu=gpu, rate=1))) == ("UNSTABLE", "PROVED")

    def test_joins_on_the_way_back(self):
        graph = nx.DiGraph(engines={"a": GPU, "b": GPU, "c": GPU})
        for name, engine in (("plan", "a"), ("w1", "b"), ("w2", "c"), ("merge", "a")):
            graph.add_node(name, engine=engine, prompt_tokens=32, output_tokens=32)
        graph.nodes["plan"].update(fork=True, arrival_rate=1)
        graph.nodes["merge"]["join"] = "all"
        for worker in ("w1", "w2"):
            graph.add_edge("plan", worker)
            graph.add_edge(worker, "merge")
        verdict = answer(graph)
        assert grade(verdict) == ("UNDECIDED", "NONE")
        assert "a -> " in verdict.reason


class TestOrderOfArrival:
    def test_equal_work_is_stable_in_order_of_arrival(self):
        # Kelly type: 64 tokens a visit at one engine, 128 at the other; loads 0.95, while the
        # visits to b and the last ones to a make a virtual station of load 1.425.
        graph = nx.DiGraph(engines={"a": GPU, "b": GPU})
        for name, prompt in (("a", 32), ("b", 96)):
            graph.add_node(name, engine=name, prompt_tokens=prompt, output_tokens=32)
        graph.graph["classes"] = {
            "session": {"route": [*"aaabbbaaa"], "arrival_rate": F(19, 10)}
        }
        verdict = answer(graph)
        assert [engine.load for engine in verdict.engines] == [F(95, 100)] * 2
        assert grade(verdict) == ("STABLE", "THEOREM")
        assert "Bramson" in verdict.reason

    def test_unequal_work_in_order_of_arrival_is_not_decided(self):
        graph = crossing(F(9, 10))
        for node in graph:
            del graph.nodes[node]["priority"]
        verdict = answer(graph)
        assert grade(verdict) == ("UNDECIDED", "NONE")
        assert verdict.stable_scaling * F(9, 10) == F(608, 1088)
        assert verdict.virtual_stations
