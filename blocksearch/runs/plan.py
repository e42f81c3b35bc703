"""Plans the jobs that answer a user's question, with task, seeds, splits, images and recipe."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias, TypeGuard

from blocksearch.arch.layers import Layers, Shape
from blocksearch.arch.network import Network, Task
from blocksearch.arch.notation import read_widths
from blocksearch.arch.ops import Op, ops_in
from blocksearch.arch.shape import read_shape
from blocksearch.arch.skeleton import COUNTED
from blocksearch.data import get
from blocksearch.data.resized import at_input
from blocksearch.data.splits import Split, SplitSummary, both_origins, summary
from blocksearch.errors import ConfigError, DataError, check_fields, check_type
from blocksearch.runs.measures import ACCURACY, Metric, TrueClasses
from blocksearch.runs.records import Job, Resources, Run, RunKey
from blocksearch.runs.shipped import instead_of_images
from blocksearch.space.load import SpaceFile, read_space
from blocksearch.training.recipe import Recipe
from blocksearch.training.registry import registrations
from blocksearch.training.transforms import check_fits

Plugins: TypeAlias = Sequence[str | Path | Op]  # files, or ops themselves
PLUGINS = {"help": "Python file with ops or a space of yours; several."}
MOST_SEEDS = 1000
MOST_SPLITS = 100


def task_from(
    dataset: str, widths: str | None = None, input: str | None = None, classes: int | None = None
) -> Task:
    """Take a data set's task and change what is given. Raises ConfigError or SpecError."""
    task = get(dataset).task
    check_type("input", input, str | None)
    if widths is not None:
        task = replace(task, widths=widths_from(widths))
    if input is not None:
        shape = read_shape(input)
        channels_last = shape and min(shape.channels, shape.height) > 4 and shape.width in (1, 3)
        if shape is None or channels_last:
            hint = f": did you mean {shape.width}x{shape.channels}x{shape.height}?" if shape else ""
            raise ConfigError(
                f"input must be channels x height x width such as 3x32x32, but got {input!r}{hint}"
            )
        task = replace(task, input=shape)
    return task if classes is None else replace(task, classes=classes)


def widths_from(text: str) -> tuple[int, ...]:
    """Read stage widths. Raises ConfigError."""
    if (found := read_widths(text)) is None:
        raise ConfigError(f"widths must be whole numbers such as 64,128,256, but got {text!r}")
    return found


def _is_list(given: int | str | Sequence[int]) -> TypeGuard[Sequence[int]]:
    return isinstance(given, Iterable) and not isinstance(given, str)


def read_seeds(given: int | str | Sequence[int]) -> tuple[int, ...]:
    """Read a count (5: seeds 0 to 4) or a list (0,3,7), as it is or as text. Raises ConfigError."""
    text = "".join(f"{seed}," for seed in given) if _is_list(given) else str(given)
    written = text.strip()
    if re.fullmatch(r"[0-9]{1,9}", written):
        count = int(written)
        if not 1 <= count <= MOST_SEEDS:
            raise ConfigError(
                f"seeds must be a count of at least 1 and at most {MOST_SEEDS}, or a list, but "
                f"got {text}"
            )
        return tuple(range(count))
    if not re.fullmatch(r"[0-9]{1,9}( *, *[0-9]{1,9})*( *,)?", written):
        raise ConfigError(
            "seeds must be a count such as 5, a list such as 0,3,7 or, to ablate, a range such as "
            f"5..8, but got {text!r}"
        )
    seeds = [int(seed) for seed in written.split(",") if seed]
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must be distinct, but got {text!r}")
    return tuple(seeds)


def read_splits(given: int | str | Sequence[int]) -> tuple[int, ...]:
    """Read validation splits by number: one (`1`), a list (`0,2`) or a range (`0..4`). Raises
    ConfigError.

    >>> read_splits(1), read_splits("0,2"), read_splits("0..4")
    ((1,), (0, 2), (0, 1, 2, 3, 4))
    """
    text = ",".join(map(str, given)) if _is_list(given) else str(given)
    wanted = (
        f"validation splits must be an index such as 1, a list such as 0,2 or a range such as "
        f"0..4, at most {MOST_SPLITS}, but got {text!r}"
    )
    if found := re.fullmatch(r"\s*([0-9]{1,9})\.\.([0-9]{1,9})\s*", text):
        first, last = int(found[1]), int(found[2])
        if not 0 <= last - first < MOST_SPLITS:
            raise ConfigError(wanted)
        return tuple(range(first, last + 1))
    if not re.fullmatch(r"\s*[0-9]{1,9}( *, *[0-9]{1,9})*\s*", text):
        raise ConfigError(wanted)
    numbers = [int(each) for each in text.split(",")]
    if len(set(numbers)) < len(numbers) or len(numbers) > MOST_SPLITS:
        raise ConfigError(f"{wanted}: each once")
    return tuple(numbers)


def loaded(plugins: Plugins) -> SpaceFile:
    """Load the files a user named as one space, with all their ops and the options per factor of
    their grammars, beside ops that are given as they are. What they register is known from then on.
    """
    check_type("plugins", plugins, Plugins)
    spaces = [read_space(each, registrations) for each in plugins if not isinstance(each, Op)]
    options = {name: op for space in spaces for name, op in space.options.items()}
    options |= ops_in(plugins)
    grammars = [space.grammar for space in spaces if space.grammar]
    if len(grammars) > 1:
        raise ConfigError(f"one grammar at a time, but {len(grammars)} of the files have one")
    return SpaceFile(options=options, grammar=grammars[0] if grammars else None)


@dataclass(frozen=True, kw_only=True)
class RunSettings(Resources):
    """Configures trainings, that is, their images, recipe, database and workers. Raises ConfigError
    for what cannot be.
    """

    protocol: Split
    recipe: Recipe
    root: Path | None
    keep_weights: Path | None = None
    metric: Metric = ACCURACY

    def __post_init__(self) -> None:
        check_fields(self)
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers must be at least 1, but got {self.workers}")
        named = r"(cpu|cuda:(0|[1-9][0-9]{0,2}))"
        if not re.fullmatch(rf"auto|cuda|{named}(,{named})*", self.device):
            raise ConfigError(
                "device must be auto, cpu, cuda or cuda:N with a number N, or several such as "
                f"cuda:0,cuda:1, but got {self.device!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything but the network that the runs of one experiment share, with its `images`.

    Networks of another input than the images have are trained on the same images brought to it:
    `beside` has their split and digest.
    """

    protocol: Split
    recipe: Recipe
    root: Path | None
    images: SplitSummary
    weights: Path | None = None
    metric: Metric = ACCURACY
    beside: Mapping[Shape, tuple[Split, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fits(self.recipe.augment, get(self.protocol.dataset).task.input.map)

    @property
    def judged(self) -> TrueClasses:
        """The true classes of the evaluated images."""
        return TrueClasses.of(self.images)

    def interval(self, run: Run) -> tuple[float, float] | None:
        """Return what other images might have given a run, 95 %, in percent."""
        return self.judged.interval(self.metric, run)

    def measured(self, run: Run) -> Run:
        """Return a run with the experiment's metric in the place of its accuracies."""
        return self.judged.measured(self.metric, run)

    def jobs(self, networks: Iterable[Network], seeds: Iterable[int]) -> list[Job]:
        """Return one job per seed and network, seed by seed, so interrupted plans have pairs."""
        chosen = list(networks)
        return [self.job(network, seed) for seed in seeds for network in chosen]

    def job(self, network: Network, seed: int) -> Job:
        """Make the job of one training."""
        return self.job_of(network.digest, str(network), network.layers, seed)

    def job_of(self, fingerprint: str, text: str, layers: Layers, seed: int) -> Job:
        """Make the job of one training of a network that is known by its layers."""
        split, data = self.beside.get(layers[0].input, (self.protocol, self.images.digest))
        key = RunKey(
            network=fingerprint,
            dataset=split.dataset,
            data=data,
            protocol=split.id,
            recipe=self.recipe.digest,
            seed=seed,
        )
        job = Job(
            key=key,
            text=text,
            layers=layers,
            protocol=split,
            recipe=self.recipe,
            root=self.root,
            images=self.images.training,
        )
        return job.keeping(self.weights)

    def trained_by(self, recipe: Recipe | None) -> "Experiment":
        """Return the same experiment under another recipe; None keeps its own."""
        return self if recipe is None else replace(self, recipe=recipe)

    def title(self, name: str, network: Network) -> str:
        """Say what was run, with every reduction named."""
        known = self.images
        images = f"{known.training:,} training images"
        if known.training < known.available:
            images = f"only {known.training:,} of {known.available:,} training images"
        judged = "test" if self.protocol.test else f"validation split {self.protocol.number}"
        judged = f"judged on {known.evaluation:,} images of {judged}"
        how = f"{self.recipe.title}{self.doubts}"
        by = "" if self.metric == ACCURACY else f" by {self.metric.title}"
        return f"{name}, {self._form(network)}; {self.what}: {images}, {how}, {judged}{by}"

    @property
    def what(self) -> str:
        """Say which images these are, where they are from, and what was done to them."""
        said = self.images.origin
        if said and self.protocol.test:  # the origin that is kept is that of the judged images
            learnt = get(self.protocol.dataset)
            said = both_origins(
                learnt.origin(self.images.digest, self.images.available, "train"), said
            )
        told = f" ({said})" if said else ""
        return f"{self.protocol.dataset}{told}{self.brought}"

    def _form(self, network: Network) -> str:
        """Say how wide a network is, or whose model it is inside of."""
        if network.skeleton:
            return f"inside {network.skeleton.name}, {COUNTED}"
        own, widths = get(self.protocol.dataset).task.widths_text, network.task.widths_text
        return f"widths {widths}" + ("" if widths == own else f" instead of {own}")

    @property
    def brought(self) -> str:
        """Say to which other inputs the images are brought; mostly nothing."""
        return f", also brought to {', '.join(map(str, self.beside))}" if self.beside else ""

    @property
    def ungrouped(self) -> str:
        """Say what groups the images come in, where which image is of which is not known."""
        return get(self.protocol.dataset).test_groups if self.protocol.test else ""

    @property
    def doubts(self) -> str:
        """Say which transforms of the recipe do not suit these images, and why; mostly nothing."""
        return "".join(
            f", although {name} does not suit {self.protocol.dataset} ({why})"
            for name, why in get(self.protocol.dataset).unsuited.items()
            if name in self.recipe.transforms
        )


def experiment(settings: RunSettings, network: Network, inputs: Iterable[Shape] = ()) -> Experiment:
    """Check the network against what is known of the data, so that errors come before any training.
    No pixels are read: a worker does that, and compares the digest.

    Networks may read any of `inputs`, too: the images are brought to them, once.
    """
    protocol, recipe, root = settings.protocol, settings.recipe, settings.root
    fixed, inputs = get(protocol.dataset).task, tuple(inputs)
    fits = network.task.input in (fixed.input, *inputs)
    if not fits or network.task.classes != fixed.classes:
        raise ConfigError(
            f"{protocol.dataset} has images of {fixed.input} in {fixed.classes} classes, "
            f"but the network reads {network.task.input} and tells {network.task.classes} apart"
        )
    known = _known(protocol, root, (settings.ledger, *settings.sources))
    if protocol.images is not None and protocol.images >= known.available:
        protocol = replace(protocol, images=None)
    found = Experiment(
        protocol=protocol,
        recipe=recipe,
        root=root,
        images=known,
        weights=settings.keep_weights,
        metric=settings.metric,
    )
    found.judged.check(settings.metric)
    return reading(found, inputs, (settings.ledger, *settings.sources))


def reading(shared: Experiment, inputs: Iterable[Shape], stored: Sequence[str] = ()) -> Experiment:
    """Return an experiment in which networks may read other inputs, too. Where the images are not
    there, `stored` runs may say what they are.
    """
    own, beside = get(shared.protocol.dataset).task.input, {}
    for each in dict.fromkeys(inputs):
        if each != own:
            split = replace(shared.protocol, dataset=at_input(shared.protocol.dataset, each))
            beside[each] = split, _known(split, shared.root, stored).digest
    return replace(shared, beside=beside)


def _known(protocol: Split, root: Path | None, databases: Sequence[str]) -> SplitSummary:
    """Say what the images are: from the images, or where there are none, from stored runs.

    Raises DataError if neither says it, or if stored runs are of several sets of images.
    """
    from blocksearch.runs.recall import stored_images  # the database, once it is needed

    try:
        return summary(protocol, root)
    except DataError as error:
        stored = stored_images(protocol.dataset, protocol.id, databases)
        if len(stored) > 1:
            digests = " and ".join(each.digest[:12] for each in stored)
            raise DataError(
                f"runs of several sets of {protocol.dataset} images are stored ({digests}), and "
                f"none is here to say which are asked about: {error}"
            ) from error
        if not stored:
            raise DataError(f"{error}{instead_of_images(protocol.dataset)}") from error
    return stored[0]
