"""Plans interim analyses, which look at results while seeds are added and keep the error rate."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Unpack

from blocksearch.ablation.moderation import Name
from blocksearch.ablation.stats import Comparison, Pair, Rules, Verdict, compare_pairs


def shares(analyses: int) -> tuple[float, ...]:
    """Return which share of the error rate each of several interim analyses may spend: they rise
    like 1, 2, 3, … because the later ones have more seeds to decide by.

    >>> shares(4)
    (0.1, 0.2, 0.3, 0.4)
    """
    whole = analyses * (analyses + 1) // 2
    return tuple((place + 1) / whole for place in range(analyses))


def sequential(
    names: Iterable[Name],
    stages: Sequence[int],
    more: Callable[[list[Name], int], Mapping[Name, Pair]],
    **how: Unpack[Rules],
) -> dict[Name, Comparison]:
    """Compare at growing numbers of seeds until each comparison is decided or the stages are over.

    `more(names, n)` returns the accuracies of these variants' first n seeds, after those of their
    references. Each stage may be wrong with its share of the error rate over the whole family
    (Holm), so all of them together with at most α, whatever the outcomes depend on (union bound).
    Intervals are the repeated ones, each at its stage's share. A comparison is the one of the
    stage that decided it, or of the last; its `p_value` is divided by the stage's share, so
    that it is below α exactly if a difference was found. A variant without a pair at some stage
    gets no more seeds. `how` comparisons are decided are arguments of `compare_pairs`.
    """
    order, found, seen = list(names), dict[Name, Comparison](), dict[Name, Pair]()
    for stage, share in zip(stages, shares(len(stages)), strict=True):
        open_ = [name for name in order if name not in found or _is_open(found[name])]
        if not open_:
            break
        seen |= more(open_, stage)
        rejected = {name for name, own in found.items() if own.verdict.differs}
        analysed = compare_pairs(seen, share=share, rejected=rejected, **how)
        found |= {name: analysed[name] for name in open_ if name in analysed}
    return found


def _is_open(own: Comparison) -> bool:
    return own.verdict is Verdict.UNDECIDED and own.n > 0
