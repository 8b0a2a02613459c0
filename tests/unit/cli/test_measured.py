"""Models on GPUs on the command line."""

import json
import sys

import pytest

from queueing_llm.cli import main

MODEL = "meta-llama/Meta-Llama-3.1-8B"
GPU = ["--model", MODEL, "--gpu", "h100_sxm"]
CONV = ["--trace", "azure-conv-2023"]
SMALL = ["--token-budget", "256", "--max-batch-size", "16", "--kv-capacity", "65536"]


@pytest.fixture
def ask(capsys):
    def run(*argv, expect=0):
        assert main([*argv]) == expect
        out, err = capsys.readouterr()
        return json.loads(out) if expect == 0 else err

    return run


def test_without_the_package_one_sentence_says_so(ask, monkeypatch):
    monkeypatch.setitem(sys.modules, "aiconfigurator_core.sdk.engine", None)
    requests = ["--arrival-rate", "1", "--prompt-tokens", "76", "--output-tokens", "5"]
    complaint = ask("check", *GPU, *requests, "--json", expect=2)
    assert "pip install 'queueing-llm[gpu-data]'" in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["a system is needed", "SCENARIO", "--model"]),
        (["--gpu", "h100_sxm"], ["--gpu", "give --model, too"]),
        (["theorem-2", "--host", "none"], ["--host", "give --model and --gpu, too"]),
        (["theorem-2", "--tp", "2"], ["--tp", "give --model and --gpu, too"]),
        (GPU, ["a workload is needed", "--trace", "--arrival-rate or --users"]),
    ],
)
def test_what_is_missing_is_named(ask, options, words):
    complaint = ask("check", *options, expect=2)
    assert all(word in complaint for word in words)


class TestWithMeasurements:
    @pytest.fixture(autouse=True)
    def _measurements(self):
        pytest.importorskip("aiconfigurator_core")

    def test_the_headline_command(self, ask):
        rule = ["--policy", "vanilla_vllm", "--json"]
        answer = ask("check", *GPU, "--backend", "vllm", *CONV, *rule)
        assert answer["engine"] == {
            "token_budget": 8192,
            "max_batch_size": 1024,
            "kv_capacity": answer["engine"]["kv_capacity"],
            "kv_block_size": 16,
            "first_token_from_prefill": True,
        }
        assert 400_000 < answer["engine"]["kv_capacity"] < 500_000
        assert answer["measured"]["model"] == MODEL
        assert answer["measured"]["kv_bytes_per_token"] == 131_072
        assert answer["measured"]["notes"]
        assert answer["limited_by"] == "tokens"
        assert answer["limits"]["kv_reads"] > 0.2
        # Prefill alone, at the largest batch, and the KV reads at the bandwidth of the GPU:
        # 1155 tokens x 1.8e-5 s + 2.6e5 x 131,072 bytes / 3.35e12 bytes/s is 31 ms.
        assert 15 < answer["capacity"] < 32
        assert answer["load"] == pytest.approx(answer["arrival_rate"] / answer["capacity"])

    def test_a_scenario_keeps_its_workload_on_another_gpu(self, ask):
        rule = ["--policy", "vanilla_vllm", "--json", "--arrival-rate", "1000"]
        answer = ask("check", "llama31-8b-h100", *SMALL, "--gpu", "a100_sxm", *rule)
        assert answer["measured"]["gpu"] == "a100_sxm"
        assert answer["engine"]["token_budget"] == 256
        assert answer["scenario"] == "Meta-Llama-3.1-8B on a100_sxm, vllm; llama31-8b-h100"

    def test_the_table_shows_what_was_measured(self, capsys):
        rule = ["--policy", "vanilla_vllm", "--arrival-rate", "1000"]
        assert main(["check", "llama31-8b-h100", *SMALL, *rule]) == 0
        text = " ".join(capsys.readouterr().out.split())
        for words in (
            "operators of vllm",
            "those not given: vLLM V1",
            "limited by",
            "notes",
            "host",
        ):
            assert words in text

    def test_costs_of_the_host_are_in_unless_they_are_left_out(self, ask):
        rule = ["--policy", "vanilla_vllm", "--json", "--arrival-rate", "1000"]
        command = [
            "check",
            *GPU,
            *SMALL,
            "--prompt-tokens",
            "76",
            "--output-tokens",
            "5",
            *rule,
        ]
        usual, fitted, bare = (
            ask(*command, *host) for host in ([], ["--host", "fitted"], ["--host", "none"])
        )
        assert usual == fitted
        assert fitted["capacity"] < bare["capacity"]
        assert fitted["measured"]["host"]["per_decode"] == 18.4e-6
        assert bare["measured"]["host"] is None
        assert "fit to benchmark runs" in " ".join(fitted["measured"]["notes"])
        complaint = ask(*command, "--host", "fit", expect=2)
        assert "host must be 'fitted', 'none'" in complaint

    def test_a_model_whose_tokens_take_different_bytes_has_an_answer_in_json(self, ask):
        gpu = ["--model", "openai/gpt-oss-20b", "--gpu", "h100_sxm", *SMALL]
        lengths = ["--prompt-tokens", "76", "--output-tokens", "5", "--arrival-rate", "1000"]
        answer = ask("check", *gpu, *lengths, "--policy", "vanilla_vllm", "--json")
        assert answer["measured"]["kv_bytes_per_token"] is None
        assert answer["verdict"] == "UNSTABLE"

    def test_users_on_a_gpu(self, ask):
        lengths = ["--prompt-tokens", "200", "--output-tokens", "20", "--users", "8"]
        run = ["--policy", "vllm_v1", "--horizon", "20", "--json"]
        answer = ask("simulate", *GPU, *SMALL, *lengths, *run)
        assert answer["users"] == 8
        assert answer["latencies"]["tpot"]["mean"]["value"] > 0.005

    @pytest.mark.slow
    def test_every_policy_is_judged(self, ask):
        answer = ask("check", *GPU, *SMALL, *CONV, "--json")
        assert {result["verdict"] for result in answer["results"]} <= {
            "STABLE",
            "UNSTABLE",
            "UNDECIDED",
        }
        for result in answer["results"]:
            if result["critical_rate"] is not None:
                assert result["critical_rate"] <= result["capacity"]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--model", MODEL, "--gpu", "h100"], ["'h100'", "did you mean 'h100_sxm'"]),
            (["--model", "Llama-3.1-8C", "--gpu", "h100_sxm"], ["did you mean", MODEL]),
            ([*GPU, "--backend", "vlm"], ["'vlm'", "did you mean 'vllm'"]),
            (["--model", "", "--gpu", "h100_sxm"], ["model must be a name", "model=''"]),
        ],
    )
    def test_a_wrong_name_gets_near_ones(self, ask, options, words):
        complaint = ask("check", *options, *CONV, expect=2)
        assert all(word in complaint for word in words)
