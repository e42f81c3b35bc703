"""Does weighing channels by what the whole map says (squeeze-and-excitation, Hu et al. 2018) pay on
thin networks?
"""

from blocksearch import TASKS, Grammar, Shape, op
from blocksearch.arch.layers import Activation, Conv, GlobalPool, Join, Layers


@op("attention")
def se(entry: Shape, ratio: int = 4) -> Layers:
    pooled = GlobalPool(entry)
    squeeze = Conv(pooled.output, max(1, entry.channels // ratio), (1, 1))
    excite = Conv(squeeze.output, entry.channels, (1, 1))
    gate = (
        pooled,
        squeeze,
        Activation(squeeze.output, "relu"),
        excite,
        Activation(excite.output, "hardsigmoid"),
    )
    return (Join(entry, "multiply", ((), gate)),)


grammar = Grammar(
    TASKS["gtsrb"],
    bottleneck=["reduce(2)"],
    minimum=[6],
    kernel=["3x3", "1x3+3x1"],
    attention=["none", se(ratio=2), se(ratio=4)],
)
