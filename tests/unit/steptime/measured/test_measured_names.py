"""Names of models, systems, backends and versions; silence; and never the network."""

import json
import logging
import subprocess
import sys
import textwrap

import pytest

from queueing_llm.errors import InvalidArgument, MissingDependency
from queueing_llm.steptime import MeasuredStepTime
from queueing_llm.steptime.measured._engine import quietly
from queueing_llm.steptime.measured._names import known_model

pytest.importorskip("aiconfigurator_core", reason="aiconfigurator-core is not installed")

LLAMA = "meta-llama/Meta-Llama-3.1-8B"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}


@pytest.mark.parametrize(
    "name",
    [
        LLAMA,
        "meta-llama/Llama-3.1-8B",
        "meta-llama/Llama-3.1-8B-Instruct",
        "META-LLAMA/meta-llama-3.1-8b-instruct",
        "Llama-3.1-8B",
    ],
)
def test_spellings_of_one_model(name):
    assert known_model(name) == LLAMA


def test_names_that_are_packaged_stay_what_they_are():
    for name in ("Qwen/Qwen3-VL-8B-Instruct", "nvidia/Llama-3.1-70B-Instruct-FP8"):
        assert known_model(name) == name


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("meta-llama/Llama-3.1-7B", "did you mean 'meta-llama/Meta-Llama-3.1-70B'"),
        ("Qwen/Qwen4-32B", "'Qwen/Qwen3-32B'"),
        ("8B", "one of the 85"),
        ("mistralai/Mixtral-8x7B-v0.1", "one of the 85"),
        ("", "a name or the path of a folder"),
        (None, "a name or the path of a folder"),
    ],
)
def test_unknown_models(name, near):
    with pytest.raises(InvalidArgument, match="model must be") as caught:
        MeasuredStepTime(name, "h100_sxm")
    assert near in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("system", "rest", "words"),
    [
        ("h100", {}, "did you mean 'h100_sxm'?"),
        ("a100_pcie", {}, "system must have measurements of vllm"),
        ("b60", {"backend": "sglang"}, "system must have measurements of sglang"),
        ("h100_sxm", {"backend": "vlm"}, "did you mean 'vllm'?"),
        ("h100_sxm", {"version": "0.19.0"}, "Accepted: '0.24.0', '0.27.0'"),
        ("h100_sxm", {"gemm_precision": "fp9"}, "did you mean 'fp8'?"),
        ("h100_sxm", {"kv_precision": "fp4"}, "kv_precision must have measurements"),
        ("h100_sxm", {"attention_precision": 8}, "attention_precision must have"),
        ("h100_sxm", {"tp": 3}, "there are no measurements of .* tp=3"),
        ("h100_sxm", {"gemm_precision": "nvfp4"}, "there are no .* gemm_precision='nvfp4'"),
        ("h100_sxm", {"attention_precision": "fp8"}, "there are no measurements"),
        ("h100_sxm", {"tp": 0}, "tp must be"),
        ("h100_sxm", {"prompt_tokens": 0}, "prompt_tokens must be"),
        (["h100_sxm"], {}, "system must have measurements"),
    ],
)
def test_what_was_not_measured_is_refused(system, rest, words):
    with pytest.raises(InvalidArgument, match=words):
        MeasuredStepTime(LLAMA, system, **rest)


def test_a_folder_with_a_config(tmp_path):
    with pytest.raises(InvalidArgument, match=r"a folder with a config\.json"):
        MeasuredStepTime(str(tmp_path), "h100_sxm")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    local = MeasuredStepTime(str(tmp_path), "h100_sxm")
    packaged = MeasuredStepTime(LLAMA, "h100_sxm")
    assert local(512, 64, 70_000) == packaged(512, 64, 70_000)
    assert local.kv_bytes_per_token == packaged.kv_bytes_per_token


def test_without_the_package_one_sentence_says_so(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("aiconfigurator_core")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiconfigurator_core", None)
    with pytest.raises(MissingDependency, match=r"pip install 'queueing-llm\[gpu-data\]'"):
        MeasuredStepTime(LLAMA, "h100_sxm")


def test_loading_is_silent_asks_no_network_and_waits_until_it_is_needed():
    program = """
        import logging, socket, sys
        logging.basicConfig(level=logging.DEBUG)

        def refuse(*_, **__):
            raise AssertionError("the network was asked")

        socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
        from queueing_llm.errors import InvalidArgument
        from queueing_llm.steptime import MeasuredStepTime
        assert not any(name.startswith("aiconfigurator") for name in sys.modules)
        step = MeasuredStepTime("Qwen/Qwen3-32B", "h200_sxm", backend="trtllm", tp=2)
        step(512, 64, 70_000), step.kv_capacity(), step.notes, step.table(64, kv_capacity=100)
        for name in ("gpt2", "meta-llama/Llama-2-7b-hf", "mistralai/Mixtral-8x7B-v0.1"):
            try:
                MeasuredStepTime(name, "h200_sxm")
            except InvalidArgument:
                pass
            else:
                raise AssertionError(name)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_log_speaks_again_after_loading():
    log = logging.getLogger("aiconfigurator_core")
    log.setLevel(logging.WARNING)
    with quietly():
        assert not log.isEnabledFor(logging.CRITICAL)
    assert log.level == logging.WARNING
    with pytest.raises(KeyError), quietly():
        {}["error"]
    assert log.level == logging.WARNING
    log.setLevel(logging.NOTSET)
