"""Identical engines behind a router, as a plain event loop.

Every engine runs Sarathi's rule (decodes first, the rest of the budget for prompts); a
request joins the engine that the router names and stays there. Proposition 3 of
arXiv:2504.07347v3 routes to the engine with the fewest remaining tokens.
"""

import math

import numpy as np


class Server:
    """One engine; its tokens leave the backlog when their batch ends."""

    def __init__(self, budget, step_time):
        self.budget, self.step_time = budget, step_time
        self.prompt_left = self.decode_left = np.zeros(0, dtype=np.int64)
        self.incoming, self.until, self.backlog = [], math.inf, 0

    def join(self, prompt, output):
        self.incoming.append((prompt, output))
        self.backlog += prompt + output

    def start(self, now):
        joined = np.array(self.incoming, dtype=np.int64).reshape(-1, 2)
        self.incoming = []
        self.prompt_left = np.append(self.prompt_left, joined[:, 0])
        self.decode_left = np.append(self.decode_left, joined[:, 1])
        decodes = (self.prompt_left == 0) & (np.cumsum(self.prompt_left == 0) <= self.budget)
        before = np.cumsum(self.prompt_left) - self.prompt_left
        chunk = np.clip(self.budget - decodes.sum() - before, 0, self.prompt_left)
        self.grant = decodes, chunk
        tokens = int(decodes.sum() + chunk.sum())
        self.until = now + self.step_time(tokens) if tokens else math.inf

    def finish(self):
        decodes, chunk = self.grant
        self.decode_left = self.decode_left - decodes
        self.prompt_left = self.prompt_left - chunk
        self.backlog -= int(decodes.sum() + chunk.sum())
        stay = (self.prompt_left > 0) | (self.decode_left > 0)
        self.prompt_left, self.decode_left = self.prompt_left[stay], self.decode_left[stay]


def shortest_queue(servers):
    """Return the server with the fewest tokens left; the first of several."""
    return min(servers, key=lambda server: server.backlog)


def growth(servers, rate, *, prompt, output, horizon, rng, route=shortest_queue):
    """Return the growth of the total backlog over the second half [tokens/s]."""
    now, arrival, middle = 0.0, rng.exponential(1 / rate), None
    while True:
        ends = min(servers, key=lambda server: server.until)
        now = min(arrival, ends.until)
        if middle is None and now > horizon / 2:
            middle = sum(server.backlog for server in servers)
        if now > horizon:
            return (sum(server.backlog for server in servers) - middle) / (horizon / 2)
        if arrival < ends.until:
            chosen = route(servers)
            chosen.join(prompt, output)
            arrival += rng.exponential(1 / rate)
            if chosen.until == math.inf:
                chosen.start(now)
        else:
            ends.finish()
            ends.start(now)
