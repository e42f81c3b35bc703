"""A network's module goes through `torch.compile` whole, and computes the same afterwards."""

import pytest
import torch

from blocksearch.arch.zoo import NAMED, TASKS, named_network


@pytest.mark.parametrize(
    "train", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["eval", "train"]
)
@pytest.mark.parametrize("name", NAMED)
def test_a_named_network_is_compiled(name, train):
    assert len(NAMED) == 13
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    torch.compiler.reset()
    for compiled in (False, True):
        module = named_network(name, TASKS["digits"]).module(seed=1).train(train)
        called = torch.compile(module, backend="eager", fullgraph=True) if compiled else module
        out = called(images)
        out.sum().backward()
        found.append([out, *(own.grad for own in module.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)  # rounding
