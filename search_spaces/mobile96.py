"""Which blocks pay on images of 96×96, and should the classifier read whole maps or averages?"""

from blocksearch import Grammar, Shape, Task

grammar = Grammar(
    Task(input=Shape(3, 96, 96), classes=10, widths=(16, 24, 48, 96)),
    stem=["conv"],
    head=["flatten", "global_pool"],
    depth=[1, 2],
    bottleneck=["none", "reduce(2)", "expand(4)"],
    kernel=["3x3", "1x3+3x1", "5x5"],
    pooling=["stride", "last", "separable_conv"],
    residual=["none", "add"],
)
