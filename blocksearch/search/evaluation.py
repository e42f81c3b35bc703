"""The last word on a study: its front, trained on all training images with new seeds, judged once
by the test images.

Which networks these are is written down before the first of them is trained, and what came out when
the last is: a study is tested once, whatever is searched later.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blocksearch.data.splits import Split, summary
from blocksearch.errors import ConfigError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.metrics import mean_interval
from blocksearch.runs.plan import Conditions
from blocksearch.runs.records import Job, Run, RunKey
from blocksearch.runs.scheduler import Watch, ensure
from blocksearch.search.results import Entry
from blocksearch.search.summary import StoredStudy, open_study, summarise
from blocksearch.training.recipe import Recipe

SEEDS = range(1000, 1005)  # new ones: a search counts its own from 0
CHOSEN, TESTED = "final front", "final"  # kinds of saved conclusions


@dataclass(frozen=True)
class Tested:
    """A network of the front: what the search believed of it, and its accuracies (percent) on the
    test images, one a seed.
    """

    text: str
    origin: str
    flops: int
    params: int
    searched: float
    accuracy: float | None
    interval: tuple[float, float] | None
    accuracies: tuple[float, ...]
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Final:
    """What the test images said, and when; `again` where that was said before and nothing was
    opened now.

    `searched` says on what the search had trained and judged.
    """

    title: str
    searched: str
    date: str
    rows: tuple[Tested, ...]
    again: bool


def final(
    location: str,
    name: str | None,
    root: Path | None,
    workers: int | None,
    device: str,
    watch: Watch,
) -> Final:
    """Test the front of a study, or return what its test said.

    Raises ConfigError where a study has no front or no images, DataError where test images are
    missing.
    """
    study = open_study(location, name)
    if not isinstance(study, StoredStudy):
        raise ConfigError(
            f"{study[0]} was made elsewhere: what its networks are is not known, and they cannot be trained"
        )
    with closing(Ledger(location, create=False)) as ledger:
        if saved := _saved(ledger, TESTED, study.name):
            return _read(saved, study, again=True)
        shared = _conditions(study, root)
        chosen = _chosen(ledger, study.name, summarise(location, study.name).front, study)
        jobs = _jobs(ledger, shared, chosen)
    runs = ensure(jobs, location, workers, watch, device)
    if failed := [run for run in runs.values() if run.state == "failed"]:
        raise ConfigError(
            f"{len(failed)} trainings failed ({failed[0].reason}): the same command tries them again"
        )
    title = (
        f"{study.name}: front of {len(chosen)} networks, {shared.protocol.dataset}: {shared.training_images:,} training images, "
        f"{shared.recipe.title}, {len(SEEDS)} new seeds, judged once on {shared.evaluation_images:,} test images"
    )
    rows = [asdict(_tested(each, runs)) for each in chosen]
    with closing(Ledger(location, create=False)) as ledger:
        ledger.add_report(TESTED, study.name, json.dumps({"title": title, "rows": rows}))
        saved = _saved(ledger, TESTED, study.name)
        assert saved is not None
        return _read(saved, study, again=False)


def _saved(ledger: Ledger, kind: str, name: str) -> dict[str, Any] | None:
    return next(
        (
            report
            for report in ledger.reports()
            if (report["kind"], report["title"]) == (kind, name)
        ),
        None,
    )


def _read(saved: Mapping[str, Any], study: StoredStudy, *, again: bool) -> Final:
    content = json.loads(saved["content"])
    return Final(
        content["title"],
        study.definition["title"],
        saved["created"],
        tuple(Tested(**_with_tuples(row)) for row in content["rows"]),
        again,
    )


def _with_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def _conditions(study: StoredStudy, root: Path | None) -> Conditions:
    """Return how the front is trained: by the search's recipe, on all training images. Raises
    ConfigError without images.
    """
    if not study.definition["recipe"]:
        raise ConfigError(
            f"study {study.name} was searched by a function of its user's: it has no images to be tested on"
        )
    recipe = Recipe(**json.loads(study.definition["recipe"]))
    protocol = Split(study.definition["dataset"], test=True)
    known = summary(protocol, root)
    if known.digest != study.definition["data"]:
        raise ConfigError(
            f"the images of {protocol.dataset} are not those that study {study.name} was searched on"
        )
    return Conditions(
        protocol,
        recipe,
        root,
        known.digest,
        known.training,
        known.available,
        known.evaluation,
        known.groups,
    )


def _chosen(
    ledger: Ledger, name: str, front: Sequence[Entry], study: StoredStudy
) -> list[dict[str, Any]]:
    """Return the networks to test: those written down by an earlier attempt, or the front now,
    which is written down.
    """
    saved = _saved(ledger, CHOSEN, name)
    if saved is None:
        if not front:
            raise ConfigError(f"study {name} has no front yet: search first")
        fingerprints = {trial.candidate: trial.network for trial in study.trials}
        rows = [
            {
                "fingerprint": fingerprints[entry.trial],
                "text": entry.text,
                "origin": entry.origin,
                "searched": entry.mean,
                "flops": int(entry.costs["flops"]),
                "params": int(entry.costs["params"]),
            }
            for entry in front
        ]
        ledger.add_report(CHOSEN, name, json.dumps(rows))
        return rows
    found: list[dict[str, Any]] = json.loads(saved["content"])
    return found


def _jobs(ledger: Ledger, shared: Conditions, chosen: Sequence[Mapping[str, Any]]) -> list[Job]:
    return [
        shared.job_of(each["fingerprint"], each["text"], layers, seed)
        for seed in SEEDS
        for each in chosen
        if (layers := ledger.layers(each["fingerprint"])) is not None
    ]


def _tested(each: Mapping[str, Any], runs: Mapping[RunKey, Run]) -> Tested:
    own = [run for key, run in runs.items() if key.network == each["fingerprint"]]
    accuracies = tuple(run.accuracy for run in own if run.accuracy is not None)
    return Tested(
        each["text"],
        each["origin"],
        each["flops"],
        each["params"],
        each["searched"],
        sum(accuracies) / len(accuracies) if accuracies else None,
        mean_interval(accuracies),
        accuracies,
        tuple(
            f"seed {run.key.seed} {run.state}: {run.reason}" for run in own if run.accuracy is None
        ),
    )
