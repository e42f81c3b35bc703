"""How good is a search, if the best is known? A few hundred networks, thin enough to train every
one of them on digits.
"""

from blocksearch import TASKS, Grammar

grammar = Grammar(
    TASKS["digits"],
    widths=[(4, 8, 16)],
    stem=["conv", "block"],
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
    depth_multiplier=[1, 2],
    kernel=["3x3", "1x3+3x1"],
    pooling=["stride", "last", "separable_conv"],
    residual=["none", "add"],
    groups=["none", "both(4)"],
)
