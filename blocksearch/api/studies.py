"""Searches a space for objectives, and remembers every trial in a database."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from blocksearch.api.answer import Answer
from blocksearch.api.asked import check_known, divided, run_config
from blocksearch.api.fields import GainFields, RunFields, WhereFields
from blocksearch.api.models import Maker, read_skeleton
from blocksearch.api.networks import network_of
from blocksearch.api.trainings import Seeds, planned
from blocksearch.arch.network import Network
from blocksearch.arch.notation import parse_inside
from blocksearch.data import get
from blocksearch.data.opening import DatasetLike, label_of
from blocksearch.errors import ConfigError, typed
from blocksearch.files import RESULTS
from blocksearch.runs.callback import together
from blocksearch.runs.config import TABULATE_SEEDS, RunConfig
from blocksearch.runs.location import Location
from blocksearch.runs.measures import read_metric
from blocksearch.runs.plan import Plugins, loaded, read_seeds
from blocksearch.runs.records import RunState
from blocksearch.search.importance import Effects
from blocksearch.search.results import Summary
from blocksearch.space.grammar import Grammar
from blocksearch.space.load import load_space


def placed(space: Grammar | str | Path, dataset: str, skeleton: Maker) -> tuple[str, Grammar]:
    """Return the name of a space, and the space on the images of a data set."""
    found, named = opened(space), not isinstance(space, Grammar)
    name = Path(space).stem if isinstance(space, str | Path) else "space"
    placed, own = on_images(found, dataset, named=named), read_skeleton(skeleton)
    return name, placed.inside(own) if own else placed


def opened(space: Grammar | str | Path) -> Grammar:
    """Return a space, or load it by its name or from its file. Raises ConfigError for neither."""
    if isinstance(space, str | Path):
        return load_space(space)
    if not isinstance(space, Grammar):
        raise ConfigError(
            f"a space must be a Grammar, or the name or file of one, but got {space!r:.80}"
        )
    return space


def on_images(space: Grammar, dataset: str, *, named: bool) -> Grammar:
    """Return a space on the images of a data set. One by its name has the dropout of the data
    set's networks, too; a user's grammar keeps its own.
    """
    task = get(dataset).task
    own = replace(space.task, input=task.input, classes=task.classes)
    return space.on(task if named else own)


def front(db: str | Path, name: str | None = None) -> Answer[Summary]:
    """Return the front of a stored study, cheapest first; of one made with Optuna alone as well.

    Each entry of `found.front` has its `network`, but for one that has ops of yours or is inside a
    model of yours: `Study.front` has these.

    >>> import blocksearch as bs
    >>> found = bs.front("studies/gtsrb-search.db").found
    >>> len(found.front), found.front[0].network.cost.flops
    (19, 71552)
    """
    from blocksearch.report.front import front_report
    from blocksearch.search.summary import summarise

    found = summarise(Location(db), name)
    return Answer(found=found, report=front_report(found))


def importance(db: str | Path, name: str | None = None) -> Answer[Effects]:
    """Say which factors put a network on the front of a study, with intervals.

    >>> import blocksearch as bs
    >>> bs.importance("studies/gtsrb-search.db").records()[0]["factor"]
    'groups'
    """
    from blocksearch.report.measured import measured_by
    from blocksearch.report.study import importance_report
    from blocksearch.search.importance import study_effects

    found = study_effects(Location(db), name)
    report = measured_by(importance_report(found), found.metric)
    return Answer(found=found, report=report)


def test(
    db: str | Path,
    name: str | None = None,
    *,
    metric: str | None = None,
    skeleton: Maker = None,
    plugins: Plugins = (),
    dry_run: bool = False,
    callbacks: Sequence[object] = (),
    **fields: Unpack[WhereFields],
) -> Answer[Any]:
    """Train the front of a study on all training images with five new seeds, and open the test set,
    once. `metric` is the study's unless another is asked for, of the same runs later, too. A study
    inside a model of yours needs its `skeleton`, which is not stored, and ops of yours that its
    blocks have, as `plugins`. `fields` are those of `RunConfig` that say where is trained, and
    `keep_weights="weights"` keeps what is trained, of a study that was tested before, too. With
    `dry_run` the answer is what would be trained.

    >>> import blocksearch as bs
    >>> [round(row["accuracy"], 1) for row in bs.test("studies/gtsrb-search.db").records()][:3]
    [72.9, 77.5, 82.9]
    """
    from blocksearch.report.measured import measured_by
    from blocksearch.report.study import test_report
    from blocksearch.search.evaluation import final, plan_test

    check_known(fields, WhereFields.__annotations__)
    callback, own = together(callbacks), read_metric(metric) if metric else None
    ops, model = loaded(plugins).options, read_skeleton(skeleton)
    inside = partial(parse_inside, skeleton=model, ops=ops) if model else None
    where, location = RunConfig(**divided(fields, RunConfig)[0]), Location(db)
    if dry_run:
        return planned(
            where.resources(location), callback, *plan_test(location, name, where, inside)
        )
    found = final(location, name, where, callback, own, inside)
    report = measured_by(test_report(found), found.metric)
    return Answer(found=found, report=report)


def gain(
    space: Grammar | str | Path,
    net: str | Network,
    *,
    dataset: DatasetLike = "digits",
    widths: str | Sequence[int] | None = None,
    plugins: Plugins = (),
    skeleton: Maker = None,
    dry_run: bool = False,
    callbacks: Sequence[object] = (),
    **fields: Unpack[GainFields],
) -> Answer[Any]:
    """Say what a network gains on random networks of a space that cost no more FLOPs.

    `fields` are those of `GainConfig` (`sample=30`, `seeds=5`) and of `RunConfig`. The interval
    has the spread among these. A network that was chosen by its runs needs new seeds. `plugins`
    and `skeleton` are as in `train`; inside a model, these are, too.

    >>> import blocksearch as bs
    >>> bs.gain("tiny", "effnet", dataset="gtsrb", sample=40).found.verdict  # doctest: +SKIP
    <Verdict.HIGHER: 'higher'>
    """
    from blocksearch.ablation.config import GainConfig
    from blocksearch.ablation.gain import gain as run_gain
    from blocksearch.ablation.gain import plan_gain
    from blocksearch.report.gain import gain_report

    asked, rest = divided(fields, GainConfig, RunConfig)
    question, callback = GainConfig(**asked), together(callbacks)
    config = run_config(dataset, rest, callback.reading)
    name, grammar = placed(space, config.dataset, skeleton)
    own = network_of(net, config.dataset, widths, plugins, skeleton)
    settings = config.settings()
    to_compare = (name, grammar, own, question, settings)
    if dry_run:
        return planned(settings, callback, *plan_gain(*to_compare))
    found = run_gain(*to_compare, callback)
    return Answer(
        found=found,
        report=gain_report(found),
        failed=any(run.state is RunState.FAILED for run in found.failed),
    )


@typed
def tabulate(
    space: Grammar | str | Path,
    file: str | Path | None = None,
    *,
    dataset: DatasetLike = "digits",
    seeds: Seeds = TABULATE_SEEDS,
    plugins: Plugins = (),
    skeleton: Maker = None,
    dry_run: bool = False,
    callbacks: Sequence[object] = (),
    **fields: Unpack[RunFields],
) -> Answer[Any]:
    """Train every network of a small space, and write a table of its accuracies after each epoch.

    The answer is the table's file; with `dry_run` it is what would be trained. With a `skeleton`
    networks are inside of that model; `plugins` register what a recipe of yours names.

    >>> import blocksearch as bs
    >>> bs.tabulate("tiny", "tiny.csv", dataset="gtsrb", dry_run=True)  # doctest: +SKIP
    """
    from blocksearch.report.tables import tabulated_report
    from blocksearch.search.tabulate import plan_table
    from blocksearch.search.tabulate import tabulate as run_table

    callback = together(callbacks)
    config = run_config(dataset, fields, callback.reading)
    name, grammar = placed(space, config.dataset, skeleton)
    loaded(plugins)
    where = Path(file or RESULTS / f"{name}-{label_of(dataset)}.csv")
    settings = config.settings()
    asked = (name, grammar, read_seeds(seeds), settings, where)
    if dry_run:
        return planned(settings, callback, *plan_table(*asked))
    title, rows, flops = run_table(*asked, callback)
    said = f"{where}: {title}; {len(rows)} rows"
    return Answer(found=where, report=tabulated_report(said, where, rows, flops))
