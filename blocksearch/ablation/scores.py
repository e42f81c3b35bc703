"""Compare scores that others measured, by the rules of an ablation: read, check, pair, decide.

A row has a treatment, a seed and a score (higher is better), and where there are several a task
(compared apart, one family) and a group of what was evaluated (a score is then the mean over them).
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from blocksearch.ablation.config import ScoresConfig
from blocksearch.ablation.images import ImageGroups, OtherImages, on_other_images
from blocksearch.ablation.stats import Comparison, compare_pairs
from blocksearch.errors import ConfigError, unknown
from blocksearch.files import read_text

NEEDED, MAY = ("treatment", "seed", "score"), ("task", "group")

Scores = str | Path | Iterable[Mapping[str, Any]] | Mapping[str, Any]
Key = tuple[str, str]  # task and treatment


@dataclass(frozen=True, kw_only=True)
class ScoreResult:
    """A treatment in a task: its mean score by seed, and its comparison with the reference, which
    has none itself. `elsewhere` is about other groups, if there are any.
    """

    task: str
    treatment: str
    reference: str
    scores: dict[int, float]
    comparison: Comparison | None
    elsewhere: OtherImages | None

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
            "error_groups": far and far.error,
            "groups_interval_low": far_low,
            "groups_interval_high": far_high,
            "other_groups": far and far.generality and str(far.generality),
        }


def compare_scores(scores: Scores, config: ScoresConfig) -> list[ScoreResult]:
    """Compare each treatment with a reference (the first one, if none is named), seed by seed.

    `scores` are a CSV file, rows, or {treatment: scores by seed}. All comparisons are one family.
    Raises ConfigError for what is missing, no number, given twice, or out of range.

    >>> scores = {"old": [90.0, 91.0, 90.5], "new": [92.0, 93.1, 92.4]}
    >>> found = compare_scores(scores, ScoresConfig())
    >>> str(found[1].comparison.verdict)
    'helps'
    """
    table = _table(scores)
    treatments = list(dict.fromkeys(treatment for _, treatment in table))
    if len(treatments) < 2:
        raise ConfigError(f"scores need two treatments or more, but have {treatments}")
    base = treatments[0] if config.reference is None else config.reference
    if base not in treatments:
        raise unknown("treatment", base, treatments)
    if alone := [task for task, _ in table if (task, base) not in table]:
        raise ConfigError(f"task {alone[0]!r} has no scores of the reference {base!r}")
    groups = _groups(table)
    means = {
        key: {seed: math.fsum(own.values()) / len(own) for seed, own in seeds.items()}
        for key, seeds in table.items()
    }
    compared = compare_pairs(
        {key: (means[key[0], base], own) for key, own in means.items() if key[1] != base},
        margin=config.margin,
        variance=config.variance,
    )
    elsewhere = _elsewhere(table, compared, base, groups)
    return [
        ScoreResult(
            task=task,
            treatment=treatment,
            reference=base,
            scores=dict(sorted(means[task, treatment].items())),
            comparison=compared.get((task, treatment)),
            elsewhere=elsewhere.get((task, treatment)),
        )
        for task, treatment in sorted(table, key=lambda key: key[1] != base)
    ]


_Table = dict[Key, dict[int, dict[str, float]]]  # scores by seed and group


def _elsewhere(
    table: _Table, compared: Mapping[Key, Comparison], base: str, groups: Sequence[str]
) -> dict[Key, OtherImages]:
    """Say what the differences would be on other groups, of which each counts alike."""
    if len(groups) < 2:
        return {}
    gained = {
        (task, treatment): np.array(
            [
                math.fsum(
                    table[task, treatment][seed][group] - table[task, base][seed][group]
                    for seed in own.seeds
                )
                / (100 * own.n)
                for group in groups
            ]
        )
        for (task, treatment), own in compared.items()
        if own.n
    }
    return on_other_images(compared, gained, ImageGroups(np.arange(len(groups))))


def _groups(table: _Table) -> list[str]:
    """Return the groups, which all scores have alike."""
    first = next(iter(next(iter(table.values())).values()))
    for (task, treatment), seeds in table.items():
        for seed, own in seeds.items():
            if set(own) != set(first):
                where = f"{treatment!r}, seed {seed}" + (f", task {task!r}" if task else "")
                raise ConfigError(
                    f"each treatment and seed needs a score of every group, but {where} has "
                    f"{len(own)} of them where another has {len(first)}"
                )
    return list(first)


def _table(scores: Scores) -> _Table:
    if isinstance(scores, str | Path):
        rows = _read(Path(scores))
    elif isinstance(scores, Mapping):
        rows = [
            (f"treatment {name!r}", {"treatment": name, "seed": seed, "score": score})
            for name, own in scores.items()
            for seed, score in (own.items() if isinstance(own, Mapping) else enumerate(own))
        ]
    else:
        rows = [(f"row {place}", row) for place, row in enumerate(scores, 1)]
    table: _Table = {}
    for where, row in rows:
        if missing := [name for name in NEEDED if row.get(name) in (None, "")]:
            raise ConfigError(f"scores: {where} has no {missing[0]}")
        task, group = (str(row.get(name) or "") for name in MAY)
        seed, score = _whole(row["seed"], where), _number(row["score"], where)
        own = table.setdefault((task, str(row["treatment"])), {}).setdefault(seed, {})
        if group in own:
            raise ConfigError(
                f"scores: {where} gives treatment {row['treatment']!r} and seed {seed} again"
            )
        own[group] = score
    if not table:
        raise ConfigError("scores have no rows")
    return table


def _read(file: Path) -> list[tuple[str, Mapping[str, Any]]]:
    try:
        reader = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True)
        rows: list[tuple[str, Mapping[str, Any]]] = [
            (f"{file}, line {reader.line_num}", row) for row in reader
        ]
        names = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file} cannot be read as CSV: {reason}") from error
    if missing := [name for name in NEEDED if name not in names]:
        raise ConfigError(f"{file} needs the columns {', '.join(NEEDED)}, but lacks {missing[0]}")
    if other := [name for name in names if name not in (*NEEDED, *MAY)]:
        raise unknown("column", other[0], [*NEEDED, *MAY])
    return rows


def _whole(value: Any, where: str) -> int:
    number = _number(value, where, "seed")
    if number != int(number):
        raise ConfigError(f"scores: {where} has a seed that is no whole number: {value!r}")
    return int(number)


def _number(value: Any, where: str, what: str = "score") -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"scores: {where} has a {what} that is no finite number: {value!r}")
    return number
