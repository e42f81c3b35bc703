"""Which of Section 3's design choices pay on thin networks? Every factor of that section, on
GTSRB's widths.
"""

from blocksearch import TASKS, Grammar

grammar = Grammar(
    TASKS["gtsrb"],
    stem=["conv", "block"],
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)", "reduce(8)"],
    minimum=[1, 6],
    depth_multiplier=[1, 2],
    kernel=["3x3", "1x3+3x1"],
    pooling=["stride", "last", "first", "separable", "separable_end", "separable_conv"],
    pool_kind=["max", "average"],
    residual=["none", "add", "project", "concatenate"],
    groups=["none", "last(4)", "both(4)"],
)
