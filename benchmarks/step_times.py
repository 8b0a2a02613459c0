"""How close the step-time laws come to the speed of memory, on every array library at hand.

``python benchmarks/step_times.py [--batches N]`` evaluates each law on arrays of batches with
NumPy, PyTorch, CuPy and JAX, whichever is installed, on a GPU where there is one. A law reads
three float64 arrays and writes one, 32 bytes a batch; memory allows as many as a copy of an
array, measured in the same run, moves. The share is printed for the law as it is called (its
checks and each operation pass over memory) and compiled into one pass where the library can.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import queueing_llm as ql

BYTES_A_BATCH = 32
RUNS = 5
MOST = {"tokens": 8192, "decodes": 512, "kv": 2**20}


@dataclass(frozen=True, slots=True)
class Library:
    """An array library on a device, and how it waits, copies and compiles."""

    name: str
    device: str
    array: Callable[[np.ndarray], Any]
    copy: Callable[[Any], Any]
    wait: Callable[[Any], Any]
    compiled: Callable[[Any], Any] | None


def laws() -> dict[str, ql.AbstractStepTime]:
    """Return one law of each kind, for batches up to ``MOST``."""
    prefill, decode = np.arange(0, 8193, 256), np.arange(0, 513, 16)
    kv = np.linspace(0, MOST["kv"], 33).astype(int)
    x, y, k = np.meshgrid(prefill, decode, kv, indexing="ij")
    affine = ql.AffineStepTime(base=0.01, per_token=5e-5, per_kv_token=1e-7)
    tokens = np.arange(0, MOST["tokens"] + MOST["decodes"] + 1, 64)
    return {
        "staircase": ql.StaircaseStepTime(overhead=0.01128, per_block=0.03547, block=128),
        "hinge": ql.HingeStepTime(floor=0.0455, per_token=0.0003, knee=64),
        "affine": affine,
        "roofline": ql.RooflineStepTime(0.001, 0.01, 1e-4, 1e-7),
        "table of tokens": ql.TableStepTime.of_tokens(tokens.tolist(), affine(tokens).tolist()),
        "table of batches": ql.TableStepTime.of_batches(prefill, decode, kv, affine(x, y, k)),
    }


def libraries() -> Iterator[Library]:
    """Yield the array libraries that are installed."""
    yield Library("numpy", "cpu", np.asarray, np.copy, lambda a: a, None)
    if importlib.util.find_spec("torch"):
        yield _torch()
    if importlib.util.find_spec("cupy"):
        yield _cupy()
    if importlib.util.find_spec("jax"):
        yield _jax()


def _torch() -> Library:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def wait(array: Any) -> Any:
        if device == "cuda":
            torch.cuda.synchronize()
        return array

    return Library(
        "torch",
        torch.cuda.get_device_name() if device == "cuda" else "cpu",
        lambda a: torch.as_tensor(a, device=device),
        torch.clone,
        wait,
        torch.compile,
    )


def _cupy() -> Library:
    import cupy

    def wait(array: Any) -> Any:
        cupy.cuda.Device().synchronize()
        return array

    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return Library("cupy", name, cupy.asarray, cupy.copy, wait, None)


def _jax() -> Library:
    import jax

    jax.config.update("jax_enable_x64", val=True)
    return Library(
        "jax",
        str(jax.devices()[0].device_kind),
        jax.numpy.asarray,
        jax.jit(lambda a: a.copy()),
        jax.block_until_ready,
        jax.jit,
    )


def seconds_of(call: Callable[[], Any], *, wait: Callable[[Any], Any]) -> float:
    """Return the median seconds of a call, after one that warms up and compiles."""
    wait(call())
    taken = []
    for _ in range(RUNS):
        started = time.perf_counter()
        wait(call())
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def batches(count: int) -> list[np.ndarray]:
    """Return random prefill, decode and KV tokens, float64 arrays of shape (count,)."""
    rng = np.random.default_rng(0)
    most = (MOST["tokens"], MOST["decodes"], MOST["kv"])
    return [rng.integers(0, limit, count).astype(np.float64) for limit in most]


def shares(library: Library, count: int) -> Iterator[tuple[str, float, float, float | None]]:
    """Yield each law with its batches per second and its shares of the speed of memory."""
    counts = [library.array(column) for column in batches(count)]
    copied = seconds_of(lambda: library.copy(counts[0]), wait=library.wait)
    # A copy reads and writes one array: 16 bytes a batch.
    at_best = copied * BYTES_A_BATCH / 16
    for name, law in laws().items():
        called = seconds_of(lambda law=law: law(*counts), wait=library.wait)
        fused = None
        if library.compiled is not None:
            quick = library.compiled(law)
            fused = seconds_of(lambda quick=quick: quick(*counts), wait=library.wait)
        best = called if fused is None else min(called, fused)
        share = None if fused is None else at_best / fused
        yield name, count / best, at_best / called, share


def main() -> None:
    """Print a table for each library."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--batches", type=int, default=4_000_000, metavar="N")
    count = parser.parse_args().batches
    for library in libraries():
        print(f"\n{library.name} on {library.device}, {count:,} batches")
        print(f"{'law':18} {'M batches/s':>12} {'of memory, called':>18} {'compiled':>9}")
        for name, rate, called, fused in shares(library, count):
            last = "-" if fused is None else f"{fused:.1%}"
            print(f"{name:18} {rate / 1e6:12.1f} {called:18.1%} {last:>9}")


if __name__ == "__main__":
    main()
