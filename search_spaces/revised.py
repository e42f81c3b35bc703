"""What made the revised blocks of Section 6 better: the rate, the doubled channels, the pooling, or
the last activation?

MobileNet v2 and mob_imp are points of this space, and so is EffNet's revision at each rate of
Tables 5-7.
"""

from blocksearch import TASKS, Grammar

grammar = Grammar(
    TASKS["gtsrb"],
    stem=["conv"],
    bottleneck=["expand(1)", "expand(2)", "expand(3)", "expand(4)", "expand(6)"],
    kernel=["3x3", "1x3+3x1"],
    depth_multiplier=[1, 2],
    pooling=["stride", "first", "last", "separable", "separable_conv"],
    spatial_activation=["linear", "relu"],
    activation=["linear", "leaky", "relu"],
).where(twelve_times_at_most="bottleneck!=expand(4)|expand(6) or depth_multiplier=1")
