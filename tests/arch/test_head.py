"""The head: what the classifier reads, as a field of a network's task and as a factor."""

import json

import pytest
import torch
from hypothesis import given

import blocksearch as bs
from blocksearch.ablation.config import AblationConfig
from blocksearch.ablation.design import ask
from blocksearch.arch.layers import GlobalPool, Linear
from blocksearch.arch.network import Network
from blocksearch.errors import SpecError
from blocksearch.space.grammar import Grammar
from tests.strategies import networks

POOLED = "global_pool"


@given(networks())
def test_a_network_reads_back_with_its_head(network):
    assert bs.parse(str(network)) == network
    assert ("head=" in str(network)) == (network.head == POOLED)


@given(networks())
def test_the_classifier_of_pooled_maps_reads_each_channel_once(network):
    pooled, flat = (network.with_factor("head", head) for head in (POOLED, "flatten"))
    channels = network.stages[-2][-1].output.channels
    classes = network.task.classes
    (classifier,) = (layer for layer in pooled.layers if isinstance(layer, Linear))
    assert classifier.input.elements == channels
    elements = flat.stages[-2][-1].output.elements
    assert flat.cost.params - pooled.cost.params == (elements - channels) * classes
    assert flat.cost.flops - pooled.cost.flops == 2 * (elements - channels) * classes
    module = pooled.module(seed=1)
    assert sum(p.numel() for p in module.parameters()) == pooled.cost.params
    shape = network.task.input
    module.eval()
    assert module(torch.zeros(2, shape.channels, *shape.map)).shape == (2, classes)


def test_large_images_have_a_small_classifier():
    task = "cifar10:3x224x224/10"
    flat, pooled = (bs.network(f"effnet head={head}", task=task) for head in ("flatten", POOLED))
    assert flat.cost.params > 5 * pooled.cost.params
    assert any(isinstance(layer, GlobalPool) for layer in pooled.layers)
    assert flat.digest == bs.network("effnet", task=task).digest
    with pytest.raises(bs.BlocksearchError, match="head must be flatten or global_pool"):
        bs.network("effnet head=pool")
    with pytest.raises(SpecError, match="head must be flatten or global_pool, but got 'pool'"):
        flat.with_factor("head", "pool")


def test_a_head_is_varied_when_it_is_named():
    net = bs.network("effnet", task="gtsrb")
    found = ask(net, AblationConfig(factors="head"))
    assert [v.value for v in found] == ["flatten", POOLED]
    assert found[1].compared
    assert "head" not in {v.factor for v in ask(net, AblationConfig(factors="all"))}


def test_a_space_varies_the_head():
    options = {"residual": ["none", "add"], "bottleneck": ["reduce(2)", "reduce(4)"]}
    widths = [(4, 8), (8, 8)]
    task = bs.TASKS["gtsrb"]
    flat, pooled = (
        Grammar(task, widths=widths, head=[head], **options) for head in ("flatten", POOLED)
    )
    both = Grammar(task, widths=widths, head=["flatten", POOLED], **options)
    assert sorted(n.digest for n in both) == sorted(n.digest for n in [*flat, *pooled])
    assert (both.fix(head=POOLED), both.encoding.levels["head"]) == (pooled, ["flatten", POOLED])
    assert len(flat) == len(pooled)
    for made, base in zip(pooled, flat, strict=True):
        assert made.head == POOLED
        assert made == base.with_factor("head", POOLED)
        assert pooled[pooled.index(made)] == made
    counted = [(network.cost.flops, network.cost.params) for network in pooled]
    costs = pooled.costs()
    assert counted == list(zip(costs.flops.tolist(), costs.params.tolist(), strict=True))
    assert flat[0] not in pooled
    again = eval(repr(pooled), {"Grammar": Grammar, "TASKS": bs.TASKS})
    assert again.digest == pooled.digest != flat.digest
    assert again[0] == pooled[0]
    moved = pooled.on(bs.TASKS["cifar10"])
    assert moved[0].head == POOLED
    assert isinstance(moved[0], Network)
    assert "head" not in json.dumps(flat.data())
