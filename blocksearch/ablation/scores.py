"""Compares scores that others measured, by the rules of an ablation, and says what is lost.

Tasks are compared apart, in one family. If scores have groups of what was evaluated, the score of a
seed is the mean over them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from blocksearch.ablation.collapse import LEAST, collapsed
from blocksearch.ablation.config import MARGIN, ScoresConfig
from blocksearch.ablation.images import ImageGroups, OtherImages, on_other_images
from blocksearch.ablation.score_table import Key, ScoreTable, Seed, read_scores
from blocksearch.ablation.stats import Comparison, compare_pairs
from blocksearch.errors import ConfigError, unknown

POINT = 0.01  # of fractions; of all other scores it is 1
_Means = dict[Key, dict[int, float]]  # by the number of a seed


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """A treatment in a task: its mean score by seed, and its comparison with the reference, which
    has none itself.

    `elsewhere` is about other groups, if there are any; `groups` is their number, 0 if none were
    given. `only_reference` and `only_treatment` are seeds that have no partner, and `collapsed`
    those far below the others. Where seeds are texts, those of `comparison` are their places.
    """

    task: str
    treatment: str
    reference: str
    scores: dict[Seed, float]
    comparison: Comparison | None
    elsewhere: OtherImages | None
    groups: int
    only_reference: tuple[Seed, ...]
    only_treatment: tuple[Seed, ...]
    collapsed: tuple[Seed, ...]

    def record(self) -> dict[str, object]:
        """Return a flat record, in the units of the scores."""
        own, far = self.comparison, self.elsewhere
        low, high = (own and own.interval) or (None, None)
        far_low, far_high = (far and far.interval) or (None, None)
        return {
            "task": self.task,
            "treatment": self.treatment,
            "reference": self.reference,
            "n": own.n if own else len(self.scores),
            "seeds": list(self.scores),
            "scores": list(self.scores.values()),
            "score": sum(self.scores.values()) / len(self.scores),
            "difference": own and own.difference,
            "interval_low": low,
            "interval_high": high,
            "p_value": own and own.p_value,
            "p_raw": own and own.p_raw,
            "p_own": own and own.p_own,
            "p_sign_flip": own and own.p_sign_flip,
            "error": own and own.error,
            "verdict": own and str(own.verdict),
            "margin": own and own.margin,
            "smallest_effect": own and own.decides,
            "groups": self.groups,
            "error_groups": far and far.error,
            "groups_interval_low": far_low,
            "groups_interval_high": far_high,
            "other_groups": far and far.generality and str(far.generality),
            "only_reference": list(self.only_reference),
            "only_treatment": list(self.only_treatment),
            "collapsed": list(self.collapsed),
        }


@dataclass(frozen=True, kw_only=True)
class ScoreAnswer:
    """The answer of a comparison of scores: references first, then the others.

    `fractions` says that all scores lie within ±1, so that 0.01 is a point. `margin` is in the
    units of the scores, and `chosen` if a user gave it. `ignored` are columns of no use here, and
    `look` is which look at these scores this is.
    """

    results: tuple[ScoreResult, ...]
    fractions: bool
    margin: float
    chosen: bool
    ignored: tuple[str, ...]
    look: int

    @property
    def comparisons(self) -> list[Comparison]:
        """What was compared, without the references."""
        return [each.comparison for each in self.results if each.comparison]

    def records(self) -> list[dict[str, object]]:
        """Return a flat record for each result: see `ScoreResult.record`. `p_value_counted` is
        the p-value times the number of looks.
        """
        return [
            each.record() | {"p_value_counted": own and own.counted(self.look)}
            for each in self.results
            for own in (each.comparison,)
        ]


def compare_scores(scores: Any, config: ScoresConfig) -> ScoreAnswer:
    """Compare each treatment with a reference (the first one, if none is named), seed by seed.

    `scores` are what `read_scores` reads. All comparisons are one family. Raises ConfigError for
    what is missing, no number, given twice, or out of range.

    >>> scores = {"old": [90.0, 91.0, 90.5], "new": [92.0, 93.1, 92.4]}
    >>> found = compare_scores(scores, ScoresConfig())
    >>> str(found.results[1].comparison.verdict)
    'helps'
    """
    table = read_scores(scores)
    base = _reference(table, config.reference)
    groups = _groups(table)
    fractions = _are_fractions(table, config.margin)
    means = {
        key: {seed: math.fsum(own.values()) / len(own) for seed, own in sorted(seeds.items())}
        for key, seeds in table.scores.items()
    }
    point = POINT if fractions else 1
    margin = config.margin or MARGIN * point
    pairs = {key: (means[key[0], base], own) for key, own in means.items() if key[1] != base}
    compared = compare_pairs(pairs, margin=margin, variance=config.variance)
    elsewhere = _elsewhere(table, compared, base, groups)
    fallen = _collapsed(means, LEAST * point)

    def result(key: Key) -> ScoreResult:
        task, own, reference = key[0], means[key], means[key[0], base]
        return ScoreResult(
            task=task,
            treatment=key[1],
            reference=base,
            scores={table.seeds[number]: score for number, score in own.items()},
            comparison=compared.get(key),
            elsewhere=elsewhere.get(key),
            groups=0 if groups[task] == [""] else len(groups[task]),
            only_reference=table.named(set(reference) - set(own)),
            only_treatment=table.named(set(own) - set(reference)),
            collapsed=table.named(fallen.get(key, ())),
        )

    return ScoreAnswer(
        results=tuple(map(result, sorted(means, key=lambda key: key[1] != base))),
        fractions=fractions,
        margin=margin,
        chosen=config.margin is not None,
        ignored=table.ignored,
        look=config.look,
    )


def _reference(table: ScoreTable, wanted: str | None) -> str:
    """Return the reference, of which each task has scores."""
    treatments = list(dict.fromkeys(treatment for _, treatment in table.scores))
    if len(treatments) < 2:
        raise ConfigError(f"scores need two treatments or more, but have {treatments}")
    base = treatments[0] if wanted is None else wanted
    if base not in treatments:
        raise unknown("treatment", base, treatments)
    if alone := [task for task, _ in table.scores if (task, base) not in table.scores]:
        raise ConfigError(f"task {alone[0]!r} has no scores of the reference {base!r}")
    return base


def _are_fractions(table: ScoreTable, margin: float | None) -> bool:
    """Say whether all scores lie within ±1. If only some tasks' do, no default margin fits all."""
    small = {task: all(abs(own) <= 1 for own in table.of(task)) for task, _ in table.scores}
    if margin is None and any(small.values()) and not all(small.values()):
        one, other = (next(t for t, own in small.items() if own is like) for like in (True, False))
        raise ConfigError(
            f"scores of task {one!r} all lie within ±1, and those of task {other!r} do not, so no "
            "margin is right for both unless it is chosen"
        )
    return all(small.values())


def _collapsed(means: _Means, least: float) -> dict[Key, tuple[int, ...]]:
    """Return the seeds that collapsed, as the runs of a task tell."""
    found: dict[Key, tuple[int, ...]] = {}
    for task in dict.fromkeys(task for task, _ in means):
        found |= collapsed({key: own for key, own in means.items() if key[0] == task}, least)
    return found


def _elsewhere(
    table: ScoreTable,
    compared: Mapping[Key, Comparison],
    base: str,
    groups: Mapping[str, list[str]],
) -> dict[Key, OtherImages]:
    """Say what the differences would be on other groups of their tasks, of which each counts
    alike.
    """
    gained = {
        (task, treatment): np.array(
            [
                math.fsum(
                    table.scores[task, treatment][seed][group]
                    - table.scores[task, base][seed][group]
                    for seed in own.seeds
                )
                / (100 * own.n)
                for group in groups[task]
            ]
        )
        for (task, treatment), own in compared.items()
        if own.n and len(groups[task]) >= 2
    }
    sets = {key: ImageGroups(np.arange(len(own))) for key, own in gained.items()}
    return on_other_images(compared, gained, sets)


def _groups(table: ScoreTable) -> dict[str, list[str]]:
    """Return the groups of each task, which all scores of the task have alike."""
    found: dict[str, list[str]] = {}
    for (task, treatment), seeds in table.scores.items():
        for seed, own in seeds.items():
            first = found.setdefault(task, list(own))
            if differ := set(first) ^ set(own):
                group, where = min(differ), f" of task {task!r}" if task else ""
                said = f"group {group!r}" if group else "the score without a group"
                raise ConfigError(
                    f"each treatment and seed{where} needs a score of every group, but "
                    f"{treatment!r}, seed {table.seeds[seed]} "
                    + (f"has {said}, which others lack" if group in own else f"lacks {said}")
                )
    return found
