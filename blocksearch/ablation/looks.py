"""Adding seeds only where a comparison is still undecided, without the false verdicts of peeking
(`evidence.md`, 6).

The looks are few: four from 5 to 20 seeds. Each may be wrong with its share of the error rate,
α/looks, over the whole family (Holm), so all of them together with α at most, whatever the outcomes
depend on (union bound over looks; within one, a first false rejection is compared with no fewer
hypotheses than are true). Intervals are the repeated ones: each at its look's share.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from blocksearch.ablation.stats import ALPHA, MARGIN, Effect, compare_pairs
from blocksearch.errors import ConfigError
from blocksearch.runs.plan import MOST_SEEDS

LOOKS = (5, 8, 12, 20)

Accuracies = Mapping[int, float]
Pairs = Mapping[str, tuple[Accuracies, Accuracies]]


def read_looks(text: str) -> tuple[int, ...] | None:
    """Read `5..20` as looks at 5, 8, 12 and 20 seeds; None where the text is no range. Raises
    ConfigError for an empty one.
    """
    found = re.fullmatch(r"\s*([0-9]{1,9})\.\.([0-9]{1,9})\s*", text)
    if not found:
        return None
    first, last = int(found[1]), int(found[2])
    if not 2 <= first < last <= MOST_SEEDS:
        raise ConfigError(
            f"a range of seeds must rise from at least 2 to at most {MOST_SEEDS}, but got {text!r}"
        )
    return (first, *(look for look in LOOKS if first < look < last), last)


def sequential(
    names: frozenset[str],
    looks: tuple[int, ...],
    more: Callable[[frozenset[str], int], Pairs],
    alpha: float = ALPHA,
    margin: float | None = None,
) -> dict[str, Effect]:
    """Compare variants with their references at growing numbers of seeds until each is decided, or
    the looks are over.

    `more(names, n)` returns for each of these variants the accuracies of its first n seeds, after
    those of its reference. An effect is the one at the look that decided it, or at the last; its
    `p_value` is adjusted for the looks, too, so that it is below α exactly where the verdict is
    *helps* or *hurts*. A variant of which no pair came out at a look gets no more seeds.
    """
    found: dict[str, Effect] = {}
    seen: dict[str, tuple[Accuracies, Accuracies]] = {}
    for look in looks:
        open_ = frozenset(
            name
            for name in names
            if name not in found or (found[name].verdict == "undecided" and found[name].n)
        )
        if not open_:
            break
        seen |= more(open_, look)
        rejected = {name for name, effect in found.items() if effect.verdict in ("helps", "hurts")}
        effects = compare_pairs(
            seen, alpha=alpha / len(looks), margin=margin or MARGIN, rejected=rejected
        )
        found |= {name: _over_looks(effects[name], len(looks)) for name in open_ if name in effects}
    return found


def _over_looks(effect: Effect, looks: int) -> Effect:
    return (
        effect
        if effect.p_value is None
        else replace(effect, p_value=min(1.0, looks * effect.p_value))
    )
