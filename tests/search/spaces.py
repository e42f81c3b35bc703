"""Small spaces for tests of the search."""

from blocksearch import TASKS, Grammar

TWELVE = Grammar(
    TASKS["digits"],
    widths=[(4, 8, 16)],
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
    kernel=["3x3", "1x3+3x1"],
    residual=["none", "add"],
)
# thin, so that many members have several spellings: a minimum or groups that change nothing
SPELLED = Grammar(
    TASKS["digits"],
    widths=[(4, 8, 16)],
    stem=["conv", "block"],
    bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
    minimum=[1, 4, 6],
    pooling=["stride", "last"],
    pool_kind=["max", "average"],
    groups=["none", "last(4)", "both(4)"],
)
STAGES = (
    Grammar(  # too large to be listed, and members differ in how many blocks they have room for
        TASKS["gtsrb"],
        per_stage=True,
        stem=["conv", "block"],
        bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
        depth_multiplier=[1, 2],
        kernel=["3x3", "1x3+3x1"],
        pooling=["stride", "last"],
        groups=["none", "both(4)"],
    )
)
