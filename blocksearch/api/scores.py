"""Compares scores from elsewhere; trains nothing."""

from pathlib import Path
from typing import Any, Unpack

from blocksearch.api.answer import Answer
from blocksearch.api.asked import divided
from blocksearch.api.fields import ScoresFields


def compare(scores: Any, **fields: Unpack[ScoresFields]) -> Answer[Any]:
    """Compare treatments of any experiment, seed by seed, by the rules of an ablation.

    `scores` are a CSV file, a data frame or a dict of columns with treatment, seed and score
    (higher is better), and where there are several a group of what was evaluated and a task; or
    rows, as dicts or as tuples in this order; or {treatment: scores by seed}. `fields` are
    `reference` (default: the first treatment), `margin`, `variance` and `look`. Raises
    ConfigError in one line.

    >>> import blocksearch as bs
    >>> answer = bs.compare({"old": [90.0, 91.0, 90.5], "new": [92.0, 93.1, 92.4]})
    >>> answer.records()[1]["verdict"]
    'helps'
    """
    from blocksearch.ablation.config import ScoresConfig
    from blocksearch.ablation.scores import compare_scores
    from blocksearch.report.scores import scores_report

    (own,) = divided(fields, ScoresConfig)
    found = compare_scores(scores, ScoresConfig(**own))
    name = str(scores) if isinstance(scores, str | Path) else "scores"
    return Answer(found=found, report=scores_report(name, found))
