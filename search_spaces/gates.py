"""Do a smooth activation and a shortcut that keeps the strongest instead of the average help? Two
options of one's own.
"""

from blocksearch import TASKS, Grammar, Shape, op
from blocksearch.arch.layers import Activation, Join, Layers, MatchChannels, Pool


@op("activation")
def swish(entry: Shape) -> Layers:
    return (Join(entry, "multiply", ((), (Activation(entry, "hardsigmoid"),))),)


@op("residual")
def strongest(entry: Shape, output: Shape) -> Layers:
    stride = -(-entry.height // output.height), -(-entry.width // output.width)
    pool = Pool(entry, "max", stride, stride)
    return (pool, MatchChannels(pool.output, output.channels))


grammar = Grammar(
    TASKS["gtsrb"],
    kernel=["3x3", "5x1+1x5", "3x3d2"],
    activation=["relu", swish()],
    residual=["none", "add", strongest()],
)
