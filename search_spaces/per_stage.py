"""Does one block suit every stage? Early maps are large and thin, late ones small and wide: a block
of its own for each stage.
"""

from blocksearch import TASKS, Grammar

grammar = Grammar(
    TASKS["gtsrb"],
    per_stage=True,
    widths=[(8, 16, 32), (12, 24, 48)],
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
    depth_multiplier=[1, 2],
    kernel=["3x3", "1x3+3x1"],
    pooling=["stride", "last", "separable", "separable_conv"],
    residual=["none", "add", "concatenate"],
    groups=["none", "last(4)", "both(4)"],
)
