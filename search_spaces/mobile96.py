"""Which blocks pay on images of 96×96, how soon should maps shrink, and would 64×64 do?"""

from blocksearch import Grammar, Shape, Task

grammar = Grammar(
    Task(input=Shape(3, 96, 96), classes=10),
    stem=["conv(kernel=3,stride=2,width=16)", "conv(kernel=5,stride=4,width=16)"],
    head=["global_pool"],
    stages=[
        {"width": 24},
        {"width": 48, "depth": [1, 2]},
        {"width": 96, "depth": [1, 2]},
    ],
    resolution=[64, 96],
    bottleneck=["none", "reduce(2)", "expand(4)"],
    kernel=["3x3", "5x5"],
    pooling=["stride", "last"],
    residual=["none", "add"],
)
