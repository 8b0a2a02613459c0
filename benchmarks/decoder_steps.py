"""Measure the step time of a Llama-shaped decoder on the GPU at hand.

``python benchmarks/decoder_steps.py --shape llama-3.1-8b --out steps.csv`` runs a transformer
with random weights in PyTorch over a grid of batches (prefill tokens, decodes, KV tokens that
these read) and writes the median seconds of each, with a description of machine and shape in
``steps.json`` beside it. ``queueing-llm fit steps.csv`` fits the laws to it. On a machine
without a GPU ``--shape toy`` shows that it works; its times mean nothing.

A step does what a serving engine's does: one pass over all tokens of the batch through the
dense layers, attention of the prompt over itself and what it has stored, attention of each
decode over its own cache, which is written too, and logits of one token per request. There is
no scheduler, sampler or network, so an engine is slower. On CUDA a step is captured as a graph
and replayed, so launches cost little; ``--no-graph`` leaves that out.
"""

import argparse
import csv
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

WARMUPS, RUNS = 3, 9


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder: grouped-query attention and a gated feed-forward layer."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    vocabulary: int


SHAPES = {
    "llama-3.1-8b": Shape(32, 4096, 32, 8, 128, 14336, 128256),
    "llama-2-7b": Shape(32, 4096, 32, 32, 128, 11008, 32000),
    "toy": Shape(2, 64, 4, 2, 16, 128, 256),
}


class Batch(NamedTuple):
    """What a step processes: one prompt chunk, and decodes with as many stored tokens each."""

    prefill: int
    decodes: int
    stored: int

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV cache that the decodes read, beside their own."""
        return self.decodes * self.stored


class Decoder:
    """A transformer with random weights and a KV cache for decodes of one length."""

    def __init__(self, shape: Shape, *, device: str, dtype: torch.dtype, seed: int = 0) -> None:
        self.shape, self.device, self.dtype = shape, device, dtype
        self._random = torch.Generator(device=device).manual_seed(seed)
        h, kv = shape.hidden, shape.kv_heads * shape.head_size
        q = shape.heads * shape.head_size
        self.embedding = self._weight(shape.vocabulary, h)
        self.head = self._weight(shape.vocabulary, h)
        self.layers = [
            {
                "norm": torch.ones(h, device=device, dtype=dtype),
                "qkv": self._weight(q + 2 * kv, h),
                "out": self._weight(h, q),
                "second_norm": torch.ones(h, device=device, dtype=dtype),
                "up": self._weight(2 * shape.inner, h),
                "down": self._weight(h, shape.inner),
            }
            for _ in range(shape.layers)
        ]
        self.norm = torch.ones(h, device=device, dtype=dtype)

    def _weight(self, rows: int, columns: int) -> Tensor:
        values = torch.empty(rows, columns, device=self.device, dtype=self.dtype)
        return values.normal_(0, columns**-0.5, generator=self._random)

    def cache(self, decodes: int, length: int) -> list[tuple[Tensor, Tensor]]:
        """Return empty caches of all layers, each (decodes, kv heads, length, head size)."""
        size = (decodes, self.shape.kv_heads, length, self.shape.head_size)
        make = torch.zeros
        options = {"device": self.device, "dtype": self.dtype}
        return [(make(size, **options), make(size, **options)) for _ in self.layers]

    def step(
        self,
        prompt: Tensor,
        tokens: Tensor,
        cache: list[tuple[Tensor, Tensor]],
        *,
        stored: int,
        prompt_cache: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Return the logits of the last prompt token, if there is one, and of each decode.

        Parameters
        ----------
        prompt, tokens
            Token numbers: shapes (x,), the prompt from its start, and (y,), one a decode.
        cache
            Keys and values of the decodes; positions below ``stored`` are filled, this step
            fills the next.
        stored
            Tokens in the cache of each decode.
        prompt_cache
            Where the keys and values of the prompt go, if they are wanted.
        """
        x, y = len(prompt), len(tokens)
        places = torch.cat(
            [
                torch.arange(x, device=self.device),
                torch.full((y,), stored, device=self.device),
            ]
        )
        turn = _rotation(places, self.shape.head_size)
        state = self.embedding[torch.cat([prompt, tokens])]
        for number, layer in enumerate(self.layers):
            normed = F.rms_norm(state, (self.shape.hidden,), layer["norm"])
            q, k, v = self._heads(normed @ layer["qkv"].T)
            q, k = _rotate(q, turn), _rotate(k, turn)
            if prompt_cache is not None:
                for kept, fresh in zip(prompt_cache[number], (k, v), strict=True):
                    kept[0, :, :x] = fresh[:x].transpose(0, 1)
            mixed = [self._prefill(q[:x], k[:x], v[:x])] if x else []
            if y:
                mixed.append(self._decode(q[x:], k[x:], v[x:], cache[number], stored=stored))
            state = state + torch.cat(mixed) @ layer["out"].T
            normed = F.rms_norm(state, (self.shape.hidden,), layer["second_norm"])
            gate, up = (normed @ layer["up"].T).chunk(2, dim=-1)
            state = state + (F.silu(gate) * up) @ layer["down"].T
        last = torch.cat([state[x - 1 : x], state[x:]]) if x else state
        return F.rms_norm(last, (self.shape.hidden,), self.norm) @ self.head.T

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = self.shape.head_size
        counts = [self.shape.heads, self.shape.kv_heads, self.shape.kv_heads]
        parts = qkv.split([n * size for n in counts], dim=-1)
        q, k, v = (p.unflatten(-1, (n, size)) for p, n in zip(parts, counts, strict=True))
        return q, k, v

    def _prefill(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return mixed[0].transpose(0, 1).flatten(1)

    def _decode(
        self, q: Tensor, k: Tensor, v: Tensor, cache: tuple[Tensor, Tensor], *, stored: int
    ) -> Tensor:
        keys, values = cache
        keys[:, :, stored], values[:, :, stored] = k, v
        seen = slice(0, stored + 1)
        # The query heads that share a key head are the rows of one small matrix: each cached
        # key is read once.
        grouped = q.unflatten(1, (self.shape.kv_heads, -1))
        mixed = F.scaled_dot_product_attention(grouped, keys[:, :, seen], values[:, :, seen])
        return mixed.flatten(1)


def _rotation(places: Tensor, head_size: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines of the rotary embedding, shapes (n, 1, head size / 2)."""
    halves = torch.arange(0, head_size, 2, device=places.device, dtype=torch.float32)
    angles = places[:, None].float() * 500_000.0 ** (-halves / head_size)
    return angles.cos()[:, None], angles.sin()[:, None]


def _rotate(heads: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    first, second = heads.float().chunk(2, dim=-1)
    cos, sin = turn
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return turned.to(heads.dtype)


def seconds_of(decoder: Decoder, batch: Batch, *, graph: bool) -> float:
    """Return the median seconds of a step."""
    place = {"device": decoder.device}
    prompt = torch.zeros(batch.prefill, dtype=torch.long, **place)
    tokens = torch.zeros(batch.decodes, dtype=torch.long, **place)
    cache = decoder.cache(batch.decodes, batch.stored + 1)

    def step() -> None:
        decoder.step(prompt, tokens, cache, stored=batch.stored)

    with torch.inference_mode():
        for _ in range(WARMUPS):
            step()
        run = _captured(step) if graph else step
        return statistics.median(_seconds(run, decoder.device) for _ in range(RUNS))


def _captured(step):
    """Return a function that replays what ``step`` launches on the GPU."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    graph.replay()
    return graph.replay


def _seconds(run, device: str) -> float:
    if device != "cuda":
        started = time.perf_counter()
        run()
        return time.perf_counter() - started
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def batches(most_tokens: int, *, most_decodes: int, most_kv: int) -> Iterator[Batch]:
    """Yield the grid: prompts alone, decodes alone, and both, around the tiles of kernels."""
    tiles = [1, 8, 16, 32, 64, 96, 128, 136, 192, 256, 264, 384, 512, 520, 768]
    tiles += range(1024, most_tokens + 1, 512)
    prompts = [n for n in tiles if n <= most_tokens]
    decodes = [n for n in tiles if n <= most_decodes]
    for prefill in prompts:
        yield Batch(prefill, 0, 0)
    for number, stored in itertools.product(decodes, (16, 128, 512, 1024, 2048, 4096)):
        if number * stored <= most_kv:
            yield Batch(0, number, stored)
    for prefill, number, stored in itertools.product(
        prompts[1::3], decodes[1::3], (16, 128, 1024, 4096)
    ):
        if prefill + number <= most_tokens and number * stored <= most_kv:
            yield Batch(prefill, number, stored)


def measure(decoder: Decoder, grid: list[Batch], *, path: Path, graph: bool) -> None:
    """Write one row per batch, as they are measured."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prefill_tokens", "decode_tokens", "kv_tokens", "seconds"])
        for number, batch in enumerate(grid, start=1):
            seconds = seconds_of(decoder, batch, graph=graph)
            row = (batch.prefill, batch.decodes, batch.kv_tokens, f"{seconds:.9g}")
            writer.writerow(row)
            print(f"{number} of {len(grid)}: {batch} {1000 * seconds:.3f} ms", flush=True)


def main() -> None:
    """Measure and describe."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.1-8b")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--most-tokens", type=int, default=8192)
    parser.add_argument("--most-decodes", type=int, default=512)
    parser.add_argument("--most-kv", type=int, default=300_000)
    parser.add_argument("--no-graph", action="store_true")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    decoder = Decoder(SHAPES[given.shape], device=device, dtype=dtype)
    grid = list(
        batches(given.most_tokens, most_decodes=given.most_decodes, most_kv=given.most_kv)
    )
    graph = device == "cuda" and not given.no_graph
    measure(decoder, grid, path=given.out, graph=graph)
    about = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "dtype": str(dtype),
        "graph": graph,
        "shape": asdict(SHAPES[given.shape]),
        "median_of": RUNS,
    }
    given.out.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
