"""What Section 3 of the EffNet paper asks, and Section 6 after it: one family of comparisons, each
with its reference.
"""

from dataclasses import replace

from blocksearch.ablation.design import Variant, ask, interactions, read_values, variants
from blocksearch.arch.network import Network, Task
from blocksearch.arch.zoo import named_network
from blocksearch.errors import SpecError


def section3(task: Task, dataset: str | None = None) -> list[Variant]:
    """List every factor of effnet, varied alone; then what the paper compares with other references
    than effnet.

    These are bottlenecks without a least number of channels, which hides them in thin networks;
    ways to pool against pooling 2×2 at once; a leaky against a linear last activation; and what a
    baseline loses as another network, at two widths.
    """
    effnet = named_network("effnet", task, dataset=dataset)
    return [
        *ask(effnet, read_values(["all"], None)),
        *_given(effnet, "minimum", "1", "bottleneck"),
        *_given(effnet, "pooling", "last", "pooling", "stride", "separable_end"),
        *_given(effnet, "activation", "linear", "activation", "leaky"),
        *conversions(task, dataset),
    ]


def _given(network: Network, changed: str, to: str, factor: str, *values: str) -> list[Variant]:
    reference = network.with_factor(changed, to)
    return [
        replace(each, given=f"{changed}={to}")
        for each in variants(reference, factor, values or None)
    ]


def conversions(task: Task, dataset: str | None = None) -> list[Variant]:
    """Ask what a baseline loses as MobileNet or ShuffleNet, at a task's widths and at half of them
    (Section 3, beginning).
    """
    half = replace(task, widths=tuple(max(1, width // 2) for width in task.widths))
    found = [variant for own in (task, half) for variant in _conversions(own, dataset)]
    return found + interactions(found)


def _conversions(task: Task, dataset: str | None) -> list[Variant]:
    base, given = named_network("baseline", task, dataset=dataset), f"widths={task.widths_text}"
    found = [Variant("network", "baseline", True, base, base, given=given)]
    for name in ("mobilenet", "shufflenet"):
        try:
            found.append(
                replace(
                    found[0],
                    value=name,
                    is_reference=False,
                    network=named_network(name, task, dataset=dataset),
                )
            )
        except SpecError as error:
            found.append(
                replace(found[0], value=name, is_reference=False, network=None, rule=str(error))
            )
    return found
