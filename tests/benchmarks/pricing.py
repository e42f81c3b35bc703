"""How fast whole spaces are priced, against building each network on the meta device and counting
with torch's own counter.

    python -m tests.benchmarks.pricing

Everything runs in this process on one thread. Each figure is the median of several runs, made in
turn; the peer counts the same networks, and the counts must agree.
"""

import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from blocksearch import Grammar, Network, cost
from blocksearch.space.load import load_space
from blocksearch.training.build import build

PEERS, RUNS = 40, 5


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def count_with_torch(network: Network) -> int:
    module = build(network.layers, device="meta").eval()
    shape = network.task.input
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty((1, shape.channels, *shape.map), device="meta"))
    return int(counter.get_total_flops())


def measure(name: str) -> None:
    """Print, for a space: what it takes to define and price it whole from nothing, and what a
    network takes in a large batch.
    """
    grammar = load_space(name)
    networks = grammar.sample(min(PEERS, grammar.size), seed=0)
    numbers = np.array([grammar.index(network) for network in networks])
    assert (
        grammar.costs(numbers).flops.tolist()
        == [count_with_torch(n) for n in networks]
        == [cost(n.layers).flops for n in networks]
    )
    batch = np.random.default_rng(0).integers(0, grammar.size, 1_000_000)

    def whole() -> None:
        load_space(name).costs()

    found: dict[str, list[float]] = {
        "torch": [],
        "scalar": [],
        "batch": [],
        "stream": [],
        "whole": [],
    }
    for _ in range(RUNS):
        found["torch"].append(
            seconds(lambda: [count_with_torch(network) for network in networks]) / len(networks)
        )
        found["scalar"].append(
            seconds(lambda: [cost(network.layers) for network in networks]) / len(networks)
        )
        found["batch"].append(seconds(lambda: grammar.costs(batch)) / len(batch))
        found["stream"].append(stream(grammar))
        if grammar.size < 10**6:
            found["whole"].append(seconds(whole) / grammar.size)
    peer = median(found["torch"])
    print(
        f"{name}: {grammar.size:,} networks; meta device and torch.utils.flop_counter take "
        f"{peer * 1e3:.2f} ms for each"
    )
    labels = {
        "scalar": "cost(), one built network",
        "batch": "costs(), a million random members",
        "stream": "chunks(), in order",
        "whole": "the space from nothing: defined, counted, priced whole",
    }
    for key, label in labels.items():
        if found[key]:
            each = median(found[key])
            print(f"  {label:55s} {1 / each:14,.0f} networks/s   {peer / each:10,.0f} times")


def stream(grammar: Grammar) -> float:
    """Price members in order, up to ten million; return the seconds for each."""
    start, priced = time.perf_counter(), 0
    for costs in grammar.chunks():
        priced += len(costs)
        if priced >= 10**7:
            break
    return (time.perf_counter() - start) / priced


if __name__ == "__main__":
    torch.set_num_threads(1)
    for space in ("section3", "per_stage"):
        measure(space)
