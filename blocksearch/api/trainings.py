"""Trains each network once, remembers it in a database, and compares networks with paired seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from blocksearch.ablation.config import AblationConfig
from blocksearch.api.answer import Answer
from blocksearch.api.asked import divided, named, run_config
from blocksearch.api.fields import AblationFields, RunFields
from blocksearch.api.models import Maker
from blocksearch.api.networks import network_of, title_of
from blocksearch.arch.network import Network
from blocksearch.arch.zoo import with_stages
from blocksearch.data.opening import DatasetLike
from blocksearch.errors import ConfigError, DataError, check_type, typed
from blocksearch.paper.reproduce import PaperTable
from blocksearch.runs.callback import Callback, together
from blocksearch.runs.config import COMPARE_SEEDS, TRAIN_SEEDS, RunConfig
from blocksearch.runs.location import Location
from blocksearch.runs.measures import ACCURACY, Metric, read_metric
from blocksearch.runs.plan import Plugins, loaded, read_seeds
from blocksearch.runs.records import Job, Plan, Resources, RunState

Seeds = int | str | Sequence[int]


def train(
    net: str | Network,
    *,
    dataset: DatasetLike = "digits",
    seeds: Seeds = TRAIN_SEEDS,
    widths: str | Sequence[int] | None = None,
    plugins: Plugins = (),
    skeleton: Maker = None,
    metric: str = "accuracy",
    dry_run: bool = False,
    callbacks: Sequence[object] = (),
    **fields: Unpack[RunFields],
) -> Answer[Any]:
    """Train one network, once a seed, and judge it on the validation split.

    `fields` are those of `RunConfig`, such as `epochs=2, max_images=1000, keep_weights="weights"`.
    What the database has is not trained again. `metric` is accuracy, balanced-accuracy, macro-f1 or
    recall:CLASS, of stored runs, too; `dry_run` gives a plan, and trains nothing. With a
    `skeleton`, a function from a block to a PyTorch model, it is trained around the block.
    `callbacks=[bs.Progress()]` prints how it goes. Raises ConfigError or DataError in one line.

    >>> import blocksearch as bs
    >>> runs = bs.train("effnet", dataset="digits", epochs=1, seeds=3)  # doctest: +SKIP
    >>> [run["accuracy"] for run in runs.records()]  # doctest: +SKIP
    [81.2, 79.9, 80.6]
    """
    from blocksearch.report.measured import measured_by
    from blocksearch.report.tables import runs_report
    from blocksearch.runs.train import plan_training, train_network

    callback, own = together(callbacks), read_metric(metric)
    config = run_config(dataset, fields, callback.reading, train)
    found = network_of(net, config.dataset, widths, plugins, skeleton)
    settings, name = replace(config.settings(), metric=own), title_of(net, found, config.dataset)
    asked = (name, found, read_seeds(seeds), settings)
    if dry_run:
        return planned(settings, callback, *plan_training(*asked))
    title, rows, classes = train_network(*asked, callback)
    report = measured_by(runs_report(title, rows, classes), own)
    failed = any(row["state"] == RunState.FAILED for row in rows)
    return Answer(found=rows, report=report, failed=failed)


def ablate(
    block: str | Network = "effnet",
    *,
    factor: str | Sequence[str],
    dataset: DatasetLike = "digits",
    widths: str | Sequence[int] | None = None,
    plugins: Plugins = (),
    skeleton: Maker = None,
    metric: str = "accuracy",
    dry_run: bool = False,
    callbacks: Sequence[object] = (),
    **fields: Unpack[AblationFields],
) -> Answer[Any]:
    """Vary one factor of a block, everything else and the seeds paired; say what it does.

    `fields` are those of `AblationConfig` (`seeds=8`, `values=["none", "add"]`, …) and of
    `RunConfig`, `metric` is as in `train`. With several validation splits (`val_split="0..4"`) each
    seed trains on every one, and verdicts are about these images, split again. The answer's `found`
    is an `Ablation`; with `dry_run` it is a plan, and nothing is trained. Raises ConfigError or
    DataError in one line.

    >>> import blocksearch as bs
    >>> answer = bs.ablate("effnet", factor="residual", seeds=8)  # doctest: +SKIP
    >>> answer.save("residual.html")  # doctest: +SKIP
    """
    from blocksearch.ablation.design import ask

    check_type("factor", factor, str | Sequence[str])
    asked, rest = divided(
        fields, AblationConfig, RunConfig, without=("factors",), beside=named(ablate)
    )
    question = AblationConfig(factors=factor, **asked)
    callback = together(callbacks)
    config = run_config(dataset, rest, callback.reading)
    reference = network_of(block, config.dataset, widths, plugins, skeleton)
    found = ask(reference, question, loaded(plugins), config.recipe_of)
    own, name = read_metric(metric), title_of(block, reference, config.dataset)
    return _ablation(name, found, question, config, callback, dry_run=dry_run, metric=own)


def _ablation(
    name: str,
    found: Sequence[Any],
    question: AblationConfig,
    config: RunConfig,
    callback: Callback,
    *,
    dry_run: bool,
    metric: Metric = ACCURACY,
) -> Answer[Any]:
    from blocksearch.ablation.study import ablate as run_ablation
    from blocksearch.ablation.study import foresee_ablation
    from blocksearch.paper.claims import with_claims
    from blocksearch.report.comparisons import ablation_report
    from blocksearch.report.measured import measured_by

    settings, others = replace(config.first_settings(), metric=metric), config.splits[1:]
    if dry_run:
        from blocksearch.report.plans import foreseen_report

        ahead = foresee_ablation(name, found, question, settings, callback, others)
        return Answer(found=ahead.plan, report=foreseen_report(ahead))
    if question.effect is not None:
        raise ConfigError("an effect is asked about in a plan, before anything is trained")
    done = run_ablation(name, found, question, settings, callback, others)
    if metric == ACCURACY and not found[0].reference.skeleton:  # the paper claims nothing else
        done = replace(done, results=with_claims(done.results))
    return Answer(found=done, report=measured_by(ablation_report(done), metric), failed=done.failed)


def planned(
    resources: Resources, callback: Callback, title: str, jobs: Sequence[Job], *_: object
) -> Answer[Plan]:
    """Return what would be trained, of trainings that were planned with what else they need."""
    from blocksearch.report.progress import plan_report
    from blocksearch.runs.scheduler import foresee

    plan = foresee(jobs, resources, callback)
    return Answer(found=plan, report=plan_report(title, plan))


@typed
def reproduce(
    what: str | int,
    *,
    dataset: str = "gtsrb",
    seeds: Seeds | None = None,
    widths: str | Sequence[int] | None = None,
    strict: bool = False,
    variance: str | None = None,
    dry_run: bool = False,
    callbacks: Sequence[object] = (),
    **fields: Unpack[RunFields],
) -> Answer[Any]:
    """Reproduce a part of the EffNet paper: "flops", "section3", or a table, "table2" to "table7".

    Section 3 is asked on `dataset`, with up to 12 `seeds` (on SVHN 8) where undecided; several
    names, separated by commas, are compared claim by claim by the runs that are stored. It alone
    takes `variance`, "moderated" or "own", as tables are families too small for the first. `fields`
    are those of `RunConfig`.

    >>> import blocksearch as bs
    >>> sum(cell["matches"] is True for cell in bs.reproduce("flops").records())
    34
    """
    callback = together(callbacks)
    part = f"table{what}" if isinstance(what, int) else what
    numbers = {f"table{number}": number for number in range(2, 8)}
    if variance is not None and part != "section3":
        raise ConfigError(f"variance is asked of section3, which is a large family, not of {part}")
    spread = {} if variance is None else {"variance": variance}
    if part == "flops":
        from blocksearch.paper.tables import flops_cells
        from blocksearch.report.paper import flops_report

        return Answer(found=(cells := flops_cells()), report=flops_report(cells))
    if part == "section3" and "," in dataset:
        return _across([name.strip() for name in dataset.split(",")], spread, fields)
    try:
        if part == "section3":
            question = {"seeds": seeds, "strict": strict, **spread}
            return _section3(dataset, widths, question, fields, callback, dry_run=dry_run)
        if part in numbers:
            own = read_seeds(COMPARE_SEEDS if seeds is None else seeds)
            how = {"strict": strict, "dry_run": dry_run}
            return _table(numbers[part], own, widths, fields, callback, **how)
    except DataError as error:  # no stand-in takes the place of images that are not here
        title = f"Table {numbers[part]}" if part in numbers else "Section 3"
        raise DataError(f"{title}: not run, {error}") from error
    raise _unknown_part(what, part)


def _unknown_part(what: str | int, part: str) -> ConfigError:
    advice = {"table1": "; Table 1 is what `layers` returns", "all": "; ask for one after another"}
    return ConfigError(
        f"reproduce flops, section3 or table2 to table7, but not {what!r}{advice.get(part, '')}"
    )


def _section3(
    dataset: str,
    widths: str | Sequence[int] | None,
    question: Mapping[str, Any],
    fields: Mapping[str, Any],
    callback: Callback,
    *,
    dry_run: bool,
) -> Answer[Any]:
    from blocksearch.api.networks import read_task
    from blocksearch.paper.section3 import analyses, section3

    config = run_config(dataset, fields, callback.reading)
    found = section3(with_stages(read_task(config.dataset, widths)[0]), config.dataset)
    seeds = analyses(config.dataset) if question["seeds"] is None else question["seeds"]
    asked = AblationConfig(factors=["all"], **{**question, "seeds": seeds})
    name = "Section 3, factors of effnet"
    return _ablation(name, found, asked, config, callback, dry_run=dry_run)


def _across(
    names: Sequence[str], spread: Mapping[str, Any], fields: Mapping[str, Any]
) -> Answer[Any]:
    """Say what the stored runs of several data sets say of the paper's claims."""
    from blocksearch.paper.section3 import claims_across, claims_shown, recorded_in
    from blocksearch.report.paper import claims_report

    settings_of = {name: run_config(name, fields).settings() for name in names}
    where = {name: (own.ledger, *own.sources) for name, own in settings_of.items()}
    found = recorded_in(where, next(iter(settings_of.values())).protocol.number, **spread)
    titles = {name: own.title if own else f"{name}: not run" for name, own in found.items()}
    notes = [f"{name}: {own.images}" for name, own in found.items() if own]
    report = claims_report(titles, claims_shown(found), claims_across(found), notes)
    return Answer(found=found, report=report)


def _table(
    number: int,
    seeds: Sequence[int],
    widths: str | Sequence[int] | None,
    fields: Mapping[str, Any],
    callback: Callback,
    *,
    strict: bool,
    dry_run: bool,
) -> Answer[Any]:
    from blocksearch.api.networks import read_task
    from blocksearch.paper.reproduce import plan_table, reproduce_table
    from blocksearch.paper.tables import TABLES
    from blocksearch.report.comparisons import paper_report

    dataset = TABLES[number][0]
    config, task = run_config(dataset, fields, callback.reading), read_task(dataset, widths)[0]
    settings = config.settings()
    if dry_run:
        return planned(settings, callback, *plan_table(number, task, seeds, settings))
    found: PaperTable = reproduce_table(number, task, seeds, settings, callback, strict=strict)
    return Answer(found=found, report=paper_report(found), failed=found.failed)


def bench(
    net: str | Network,
    *,
    dataset: DatasetLike = "digits",
    widths: str | Sequence[int] | None = None,
    plugins: Plugins = (),
    progress: Any = lambda _: None,
    **fields: Unpack[RunFields],
) -> Answer[Any]:
    """Time the training of five seeds here: the plain loop, and each of our ways.

    >>> [way["way"] for way in bench("effnet").records()]  # doctest: +SKIP
    ['plain', 'serial', 'fused 3+2']
    """
    from blocksearch.report.tables import bench_report
    from blocksearch.runs.bench import as_rows, with_batches
    from blocksearch.runs.bench import bench as run_bench

    config = run_config(dataset, fields, progress)
    found = network_of(net, config.dataset, widths, plugins)
    title, ways = run_bench(found, with_batches(config.settings()), progress)
    return Answer(found=ways, report=bench_report(title, as_rows(ways)))


def merge(into: str | Path, other: str | Path) -> Answer[Any]:
    """Copy the runs of database `other` that `into` does not have; say on which they disagree.

    >>> merge("mine.db", "other-machine.db").found["copied"]  # doctest: +SKIP
    12
    """
    from blocksearch.report.tables import merge_report
    from blocksearch.runs.merge import merge_ledgers

    found = merge_ledgers(Location(into), Location(other))
    return Answer(found=found, report=merge_report(found))


@typed
def verify(
    db: str | Path,
    *,
    runs: int = 3,
    data_root: str | Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    plugins: Plugins = (),
    progress: Any = lambda _: None,
) -> Answer[Any]:
    """Train stored runs again in the way that they record, and say whether they come out equal.

    On the kind of processor that made them they are equal to the bit; elsewhere the answer says how
    far they are, in standard deviations between seeds. The database is only read.
    What a recipe of yours names is registered by `plugins`.

    >>> verify("studies/svhn.db", runs=3).records()[0]["result"]  # doctest: +SKIP
    'equal to the bit'
    """
    from blocksearch.report.tables import verified_report
    from blocksearch.runs.verify import Likeness
    from blocksearch.runs.verify import verify as run_again

    loaded(plugins)
    root, where = (None if data_root is None else Path(data_root)), Location(db)
    found = run_again(where, runs, root, workers, device, progress)
    wrong = sum(each.wrong for each in found)
    equal = sum(each.likeness is Likeness.EQUAL for each in found)
    report = verified_report(where, [each.record() for each in found], equal, wrong)
    return Answer(found=found, report=report, failed=bool(wrong))
