"""Evaluates the front of a study once on the test images, after training it on all training images
with new seeds.

The networks of the front are stored before the first of them is trained, and the results after the
last, because a study is tested once, whatever is searched later.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blocksearch.arch.layers import Layers, UserModel
from blocksearch.arch.network import Network
from blocksearch.arch.notation import todays
from blocksearch.data.splits import Split, both_origins, summary
from blocksearch.errors import ConfigError, RunError, StoreError
from blocksearch.runs.callback import Callback
from blocksearch.runs.config import RunConfig
from blocksearch.runs.fields import Fields
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.measures import ACCURACY, Metric, TrueClasses
from blocksearch.runs.metrics import mean_interval
from blocksearch.runs.plan import Experiment, reading
from blocksearch.runs.records import Job, Run, RunKey, RunState
from blocksearch.runs.scheduler import ensure
from blocksearch.search.results import Entry, plain
from blocksearch.search.stored_study import StoredStudy, open_study, with_origin
from blocksearch.search.summary import summarise
from blocksearch.search.trials import Trial
from blocksearch.training.recipe import Recipe

SEEDS = range(1000, 1005)  # new ones: a search counts its own from 0
CHOSEN, TESTED = "final front", "final"  # kinds of saved conclusions
Inside = Callable[[str], Network]  # reads a network inside a user's model


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A network of the front, with the search's prediction and its accuracies (percent) on the test
    images, one a seed, and the files of the weights if they are kept.
    """

    text: str
    origin: str
    flops: int
    params: int
    searched: float
    accuracy: float | None
    interval: tuple[float, float] | None
    accuracies: tuple[float, ...]
    failures: tuple[Run, ...]
    weights: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Final:
    """The results on the test images, and their time; `again` if they were stored before and
    nothing was opened now.

    `searched` says on what the search had trained and judged.
    """

    title: str
    searched: str
    date: str
    rows: tuple[Tested, ...]
    again: bool
    metric: Metric = ACCURACY
    sought: Metric = ACCURACY  # by the search


def final(
    location: str,
    name: str | None,
    where: RunConfig,
    callback: Callback,
    metric: Metric | None = None,
    inside: Inside | None = None,
) -> Final:
    """Test the front of a study, or return what its test said, by a metric or the study's own;
    inside a user's model that needs what reads its networks, unless it was tested before. Of
    `where` counts what says where is trained; weights that are to be kept and are not there are
    trained again, the answer stays.

    Raises ConfigError if a study has no front or no images, DataError if test images are
    missing, StoreError if what was written down is damaged.
    """
    study = _trainable(location, name)
    metric = metric or study.metric
    with closing(Ledger(location, create=False)) as ledger:
        again = _saved(ledger, TESTED, study.name) is not None
        if again and where.keep_weights is None:
            return _answer(ledger, study, metric, again=True)
        title, jobs, chosen = _planned(ledger, study, where, inside)
        if not _saved(ledger, CHOSEN, study.name):
            ledger.add_report(CHOSEN, study.name, json.dumps(chosen))
    runs = ensure(jobs, where.resources(location), callback)
    if failed := [run for run in runs.values() if run.state == RunState.FAILED]:
        raise RunError(
            f"{len(failed)} trainings failed ({failed[0].reason}): the same command tries them "
            "again"
        )
    with closing(Ledger(location, create=False)) as ledger:
        if not again:
            ledger.add_report(TESTED, study.name, json.dumps({"title": title}))
        return _answer(ledger, study, metric, again=again, weights=where.keep_weights)


def plan_test(
    location: str, name: str | None, where: RunConfig, inside: Inside | None
) -> tuple[str, list[Job]]:
    """Return the title of a test, and what `final` would train; write nothing to the database."""
    study = _trainable(location, name)
    with closing(Ledger(location, read_only=True)) as ledger:
        return _planned(ledger, study, where, inside)[:2]


def _trainable(location: str, name: str | None) -> StoredStudy:
    study = open_study(location, name)
    if not isinstance(study, StoredStudy):
        raise ConfigError(
            f"{study[0]} was made elsewhere: what its networks are is not known, and they cannot "
            "be trained"
        )
    return study


def _planned(
    ledger: Ledger, study: StoredStudy, where: RunConfig, inside: Inside | None
) -> tuple[str, list[Job], list[dict[str, Any]]]:
    """Return the title of a test, its trainings, and the networks that are tested."""
    front = summarise(ledger.location, study.name).front
    chosen, shared = _chosen(ledger, front, study, _experiment(study, where))
    title = (
        f"{study.name}: front of {len(chosen)} networks, {shared.what}: "
        f"{shared.images.training:,} training images, {shared.recipe.title}, {len(SEEDS)} new "
        f"seeds, judged once on {shared.images.evaluation:,} test images"
    )
    return title, _jobs(ledger, shared, chosen, inside), chosen


def _saved(ledger: Ledger, kind: str, name: str) -> tuple[str, Fields] | None:
    """Return when something was written down of a study, and what."""
    for report in ledger.reports():
        if (report["kind"], report["title"]) == (kind, name):
            where = f"{ledger.location}: the {kind} of study {plain(name)}"
            fields = Fields(report, where)
            return fields.text("created"), fields.json("content")
    return None


def _written(saved: Fields, study: StoredStudy) -> list[dict[str, Any]]:
    """Return the networks that were written down to be tested, which must be the study's."""
    first = {trial.network: trial for trial in reversed(study.trials)}
    rows = saved.objects("content")
    for each in rows:
        each.number("searched", 0, 100)
        known, own = first.get(each.text("fingerprint")), _row(each)
        if known is None or any(own.get(name) != value for name, value in _named(known)):
            raise each.error("fingerprint", "that of a network of the study")
        if each.has("images") and len(each.texts("images")) != 2:
            raise each.error("images", "the name and the digest of a data set")
    if not rows:
        raise saved.error("content", "one or more networks")
    return [_row(each) for each in rows]


def _row(written: Fields) -> dict[str, Any]:
    return {**written.row, "text": todays(written.text("text"))}


def _named(trial: Trial) -> list[tuple[str, object]]:
    """Return what is written down of a network that a trial knows."""
    named = {"text": plain(trial.text), "origin": plain(trial.origin)}
    return [*named.items(), *((name, int(trial.costs[name])) for name in ("flops", "params"))]


def _answer(
    ledger: Ledger, study: StoredStudy, metric: Metric, *, again: bool, weights: Path | None = None
) -> Final:
    """Compute the answer from the runs; what is written down is which these are."""
    saved, chosen = _saved(ledger, TESTED, study.name), _saved(ledger, CHOSEN, study.name)
    if saved is None or chosen is None:
        raise StoreError(
            f"{ledger.location}: which networks the test of study {plain(study.name)} was of is "
            "missing"
        )
    protocol, recipe = _judged(study)
    rows = []
    for each in _written(chosen[1], study):
        dataset, data = each.get("images", (protocol.dataset, study.definition["data"]))
        own = {"network": each["fingerprint"], "dataset": dataset, "data": data}
        own |= {"protocol": protocol.id, "recipe": recipe.digest}
        keys = [RunKey(**own, seed=seed) for seed in SEEDS]
        runs = ledger.find(keys)
        if len(runs) < len(keys):
            raise StoreError(
                f"{ledger.location}: {len(keys) - len(runs)} runs of {plain(each['text'])} are "
                "missing, which was tested"
            )
        kept = [str(weights / key.file_name) for key in keys] if weights else []
        rows.append(_tested(each, _measured(ledger, [runs[key] for key in keys], metric), kept))
    splits = (study.definition["protocol"], protocol.id)
    stored = [ledger.images(study.definition["data"], split) for split in splits]
    origin = both_origins(*(each.origin if each else "" for each in stored))
    title = with_origin(saved[1].object("content").text("title"), protocol.dataset, origin)
    said = study.definition["title"]
    return Final(
        title=title,
        searched=said,
        date=saved[0],
        rows=tuple(rows),
        again=again,
        metric=metric,
        sought=study.metric,
    )


def _measured(ledger: Ledger, runs: Sequence[Run], metric: Metric) -> list[Run]:
    """Return runs with what is asked of them in the place of their accuracies.

    Raises ConfigError if that is not stored.
    """
    if metric == ACCURACY:
        return list(runs)
    images = ledger.images(runs[0].key.data, runs[0].key.protocol)
    if images is None:
        raise ConfigError(f"{ledger.location} does not say of which classes the test images are")
    judged = TrueClasses.of(images)
    return [judged.measured(metric, run) for run in runs]


def _judged(study: StoredStudy) -> tuple[Split, Recipe]:
    """Return which images test a study, and the recipe of its trainings."""
    if not study.definition.get("recipe"):
        raise ConfigError(
            f"study {study.name} was searched by a function of its user's: it has no images to be "
            "tested on"
        )
    try:
        recipe = Recipe.from_text(study.definition["recipe"])
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise StoreError(f"the recipe of study {plain(study.name)} is none: {error}") from error
    return Split(study.definition["dataset"], test=True), recipe


def _experiment(study: StoredStudy, where: RunConfig) -> Experiment:
    """Return how the front is trained: by the search's recipe, on all training images. Raises
    ConfigError without images.
    """
    protocol, recipe = _judged(study)
    root, weights = where.data_root, where.keep_weights
    known = summary(protocol, root)
    if known.digest != study.definition["data"]:
        raise ConfigError(
            f"the images of {protocol.dataset} are not those that study {study.name} was searched "
            "on"
        )
    known = replace(known, origin="")  # which the title of the search says
    return Experiment(protocol=protocol, recipe=recipe, root=root, images=known, weights=weights)


def _chosen(
    ledger: Ledger, front: Sequence[Entry], study: StoredStudy, shared: Experiment
) -> tuple[list[dict[str, Any]], Experiment]:
    """Return the networks to test, those that an earlier attempt has written down or the front now,
    and how they are trained, each on images of its own input.
    """
    saved, name = _saved(ledger, CHOSEN, study.name), study.name
    if not saved and not front:
        raise ConfigError(f"study {name} has no front yet: search first")
    found = [(study.first[entry.trial], entry.mean) for entry in front]
    rows: list[dict[str, Any]] = [
        {"fingerprint": trial.network, "searched": mean, **dict(_named(trial))}
        for trial, mean in found
    ]
    rows = _written(saved[1], study) if saved else rows
    read = {each["fingerprint"]: _layers(ledger, each)[0].input for each in rows}
    shared = reading(shared, read.values())
    if not saved:
        for each in rows:
            if other := shared.beside.get(read[each["fingerprint"]]):
                each["images"] = [other[0].dataset, other[1]]
    return rows, shared


def _layers(ledger: Ledger, each: Mapping[str, Any]) -> Layers:
    """Return a network's layers. Raises StoreError if it is not known."""
    known = ledger.layers(each["fingerprint"])
    if known is None:
        raise StoreError(
            f"{ledger.location}: the layers of {plain(each['text'])} are missing, which was to be "
            "tested"
        )
    return known


def _jobs(
    ledger: Ledger, shared: Experiment, chosen: Sequence[Mapping[str, Any]], inside: Inside | None
) -> list[Job]:
    """Return a job for each network and seed. Raises ConfigError if it is inside a model that
    `inside` does not make.
    """
    layers = {each["fingerprint"]: _layers(ledger, each) for each in chosen}
    for each in chosen:
        if isinstance(layers[each["fingerprint"]][0], UserModel):
            layers[each["fingerprint"]] = _made_again(each, inside)
    return [
        shared.job_of(each["fingerprint"], each["text"], layers[each["fingerprint"]], seed)
        for seed in SEEDS
        for each in chosen
    ]


def _made_again(each: Mapping[str, Any], inside: Inside | None) -> Layers:
    if inside is None:
        raise ConfigError(
            f"{plain(each['text'])} is inside a model of yours: give the function that makes it"
        )
    network = inside(each["text"])
    if network.digest != each["fingerprint"]:
        assert network.skeleton is not None
        raise ConfigError(
            f"{network.skeleton.name} does not make the model that was searched: "
            f"{plain(each['text'])}"
        )
    return network.layers


def _tested(each: Mapping[str, Any], runs: Sequence[Run], weights: Sequence[str]) -> Tested:
    accuracies = tuple(run.accuracy for run in runs if run.accuracy is not None)
    return Tested(
        text=each["text"],
        origin=each["origin"],
        flops=each["flops"],
        params=each["params"],
        searched=each["searched"],
        accuracy=sum(accuracies) / len(accuracies) if accuracies else None,
        interval=mean_interval(accuracies),
        accuracies=accuracies,
        failures=tuple(run for run in runs if run.accuracy is None),
        weights=tuple(weights),
    )
