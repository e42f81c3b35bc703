"""Makes networks from texts, prices them, writes their files, and opens spaces; trains nothing."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from blocksearch.api.answer import Answer
from blocksearch.api.asked import check_known
from blocksearch.api.fields import NetworkFields
from blocksearch.api.models import Maker, read_skeleton
from blocksearch.arch.cost import Cost
from blocksearch.arch.cost import cost as cost_of
from blocksearch.arch.layers import Layers
from blocksearch.arch.network import Network, Task
from blocksearch.arch.notation import called, has_task, parse
from blocksearch.arch.scale import rescaled
from blocksearch.arch.zoo import TASK_TEXT, TASKS, dataset_of
from blocksearch.data import DataConfig, get, open_dataset
from blocksearch.data.datasets import PRICED
from blocksearch.data.opening import DatasetLike, is_named, is_path, label_of
from blocksearch.errors import ConfigError, check_type, typed
from blocksearch.files import write_file
from blocksearch.runs.plan import Plugins, loaded, task_from, widths_from
from blocksearch.space.grammar import Grammar
from blocksearch.space.statistics import Survey


def network(
    text: str,
    task: "Task | DatasetLike" = PRICED,
    *,
    widths: str | Sequence[int] | None = None,
    input: str | None = None,
    classes: int | None = None,
    plugins: Plugins = (),
    as_written: bool = False,
    scale_to: str | None = None,
    resize: str | None = None,
    grey: bool = False,
    skip_damaged: bool = False,
    skeleton: Maker = None,
) -> Network:
    """Read a network: a name, a name with changes, a block, or a network's whole text.

    `task` is a `Task`, or a data set: its name, its name with another input and number of classes
    (`"cifar10:3x48x48/7"`), or images of your own, which `resize` and `grey` bring to one shape,
    and of which `skip_damaged` leaves out what cannot be read. Without `widths`, its own or
    those given, a network has 8,16,32.
    `plugins` are ops of yours, or files that define some. `scale_to` rescales the widths to a
    budget such as `"flops <= 1M"`. With a `skeleton`, a function from a block to a PyTorch model,
    it is that model around the network's block. Raises ParseError, ConfigError or SpecError in one
    line.

    >>> network("effnet residual=add", task="gtsrb").cost.flops
    344064
    >>> network("effnet", task="cifar10:3x48x48/7").task.classes
    7
    """
    if not isinstance(text, str):
        raise ConfigError(f"a network is a text such as 'effnet residual=add', but got {text!r}")
    pictures = DataConfig(resize=resize, grey=grey, skip_damaged=skip_damaged)
    own, dataset = read_task(task, widths, input, classes, pictures)
    if has_task(text) and (widths is not None or (dataset and own != get(dataset).task)):
        raise ConfigError(
            "a network's text has its own widths, input and classes: change them there"
        )
    ops = loaded(plugins).options
    found = parse(text, own, ops, dataset=dataset, as_written=as_written)
    if skeleton is not None and (widths is not None or scale_to):
        raise ConfigError("a model of yours has its own widths: they cannot be given or rescaled")
    own_model = read_skeleton(skeleton)
    found = found if scale_to is None else rescaled(found, scale_to)
    return found.inside(own_model) if own_model else found


def network_of(
    net: str | Network,
    dataset: str,
    widths: str | Sequence[int] | None,
    plugins: Plugins,
    skeleton: Maker = None,
) -> Network:
    """Return a network that is given, or read its text."""
    if isinstance(net, Network):
        loaded(plugins)  # an optimizer of a recipe, say
        if widths is not None:
            raise ConfigError("widths go with a network's text: this one has its own")
        own = read_skeleton(skeleton)
        return net.inside(own) if own else net
    return network(net, dataset, widths=widths, plugins=plugins, skeleton=skeleton)


def cost(net: "str | Network | Layers", task: "Task | DatasetLike" = PRICED) -> Cost:
    """Count what one image costs a network, exactly and before it is built.

    >>> cost("effnet", task="gtsrb").params
    24245
    """
    match net:
        case Network():
            return net.cost
        case str():
            return network(net, task).cost
        case _:
            check_type("net", net, str | Network | Sequence[Any])
            return cost_of(net)


def read_task(
    task: "Task | DatasetLike",
    widths: str | Sequence[int] | None = None,
    input: str | None = None,
    classes: int | None = None,
    pictures: DataConfig = DataConfig(),  # noqa: B008 (frozen)
) -> tuple[Task, str | None]:
    """Return a task with what is given changed, and the data set that it is of, if any."""
    check_type("widths", widths, str | Sequence[int] | None)
    text = widths if isinstance(widths, str | None) else ",".join(map(str, widths))
    if isinstance(task, Task):
        return (task if text is None else replace(task, widths=widths_from(text))), None
    if match := _named(task):
        is_named(match["name"], pictures)
        written = int(match["classes"]) if match["classes"] else None
        given = match["input"] if input is None else input, written if classes is None else classes
        return task_from(match["name"], text, *given), match["name"]
    name = open_dataset(task, pictures, keep=False)
    return task_from(name, text, input, classes), name


def _named(task: object) -> re.Match[str] | None:
    """Match the name of a data set, maybe with another input and number of classes."""
    return TASK_TEXT.fullmatch(task) if isinstance(task, str) and not _is_there(task) else None


def _is_there(task: str) -> bool:
    """Whether a text is a path; a name with a number of classes looks like one."""
    return is_path(task) and not (dataset_of(task) in TASKS and TASK_TEXT.fullmatch(task))


def _images_of(net: str | Network, task: "Task | DatasetLike", fields: NetworkFields) -> str | None:
    """Return the name of the data set that a network is for, None where it has its own task."""
    own = isinstance(net, Network) or isinstance(task, Task) or has_task(net)
    if own or any(fields.get(name) is not None for name in ("input", "classes")):
        return None
    named = PRICED if task is None else task
    return str(named) if _named(named) else label_of(named)


def title_of(net: str | Network, found: Network, dataset: str) -> str:
    """Return what a network is called in a title that says its images and widths."""
    return net if isinstance(net, str) and not has_task(net) else called(found, dataset)


def _read(net: str | Network, task: "Task | DatasetLike", fields: NetworkFields) -> Network:
    """Return a network, or read its text, for PRICED where `task` is None. Raises ConfigError for
    what is said beside a network, or is no argument of `network`.
    """
    check_known(fields, NetworkFields.__annotations__)
    if not isinstance(net, Network):
        return network(net, PRICED if task is None else task, **fields)
    if fields:
        raise ConfigError(f"{next(iter(fields))} goes with a network's text: this one has its own")
    return net


def price(
    text: str | Network, task: "Task | DatasetLike" = None, **fields: Unpack[NetworkFields]
) -> Answer[Cost]:
    """Return what a network costs, as an answer; `fields` are the arguments of `network`.

    >>> price("effnet", "gtsrb", widths=(4, 8, 16)).found.flops
    198144
    """
    from blocksearch.report.networks import cost_report

    found = _read(text, task, fields)
    images: dict[str, Any] = {"images": _images_of(text, task, fields), "assumed": task is None}
    return Answer(found=found.cost, report=cost_report(str(text), found, found.cost, **images))


def export(
    net: str | Network,
    file: str | Path,
    *,
    weights: str | Path | Mapping[str, Any],
    task: "Task | DatasetLike" = None,
    **fields: Unpack[NetworkFields],
) -> Answer[Path]:
    """Write a network with trained weights to a file for other programs, by the file's suffix.

    `.pt2` is read by `torch.export.load`, without blocksearch, and takes any number of images;
    `.safetensors` holds the weights alone. Formats of your own are registered by
    `register_exporter`. `weights` are a file that `keep_weights` gave, or what a module's
    `state_dict()` returns; `task` and `fields` are the arguments of `network`. Raises ConfigError,
    DataError or PluginError in one line.

    >>> import blocksearch as bs
    >>> net = bs.network("effnet", task="digits")
    >>> own = net.module(seed=0).state_dict()  # of a module that is trained, rather
    >>> bs.export(net, "effnet.pt2", weights=own)  # doctest: +SKIP
    <Answer effnet.pt2: 318,212 bytes>
    """
    from blocksearch.report.table import Report
    from blocksearch.training.exporters import export as write

    check_type("file", file, str | Path)
    found, path = _read(net, task, fields), Path(file)
    size = write(found, weights, path)
    facts = {"file": str(path), "network": str(found), "network_id": found.digest, "bytes": size}
    report = Report(
        title=f"{path}: {size:,} bytes",
        notes=(str(found),),
        facts=facts,
        undrawn="the size of a file that was written",
    )
    return Answer(found=path, report=report)


def layers(
    text: str | Network, task: "Task | DatasetLike" = None, **fields: Unpack[NetworkFields]
) -> Answer[Network]:
    """Return the layer table of a network, like the paper's Table 1.

    >>> [row["output"] for row in layers("effnet", "gtsrb").records()][:3]
    ['6x32x32', '6x32x16', '6x32x16']
    """
    from blocksearch.arch.summary import layer_rows
    from blocksearch.report.networks import layers_report

    found = _read(text, task, fields)
    images: dict[str, Any] = {"images": _images_of(text, task, fields), "assumed": task is None}
    report = layers_report(str(text), found, layer_rows(found), found.cost, **images)
    return Answer(found=found, report=report)


@typed
def survey(
    space: "Grammar | str | Path",
    *,
    budgets: str | Sequence[str] = (),
    sample: int | None = None,
    seed: int = 0,
    enumerate: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> Answer[Survey]:
    """Describe a space: its size, its costs, and where the reference networks lie.

    The networks that are asked for, a `sample` or all, are its records.

    >>> survey("tiny", budgets=["flops <= 300k"]).data()["size"]
    248
    """
    from blocksearch.report.tables import space_report
    from blocksearch.space.statistics import check_listed, listed
    from blocksearch.space.statistics import survey as look

    name, question, grammar = _read_grammar(space, budgets)
    if enumerate and sample is None:
        check_listed(grammar)
    networks = listed(grammar, sample, seed, everything=enumerate)
    found = look(grammar, progress)
    return Answer(found=found, report=space_report(name, question, grammar, found, networks))


def write_networks(
    space: "Grammar | str | Path",
    file: str | Path,
    *,
    budgets: str | Sequence[str] = (),
    sample: int | None = None,
    seed: int = 0,
) -> None:
    """Write the costs and texts of all networks of a space, or of a sample, to a .csv file, one by
    one: a space of any size takes no more memory. Raises ConfigError if it cannot be written.

    >>> write_networks("tiny", "tiny.csv", budgets=["flops <= 300k"])  # doctest: +SKIP
    """
    from blocksearch.report.pages import stream_csv
    from blocksearch.space.statistics import listed

    networks = listed(_read_grammar(space, budgets)[2], sample, seed, everything=True)
    write_file(Path(file), lambda out: stream_csv(networks, out))


def _read_grammar(
    space: "Grammar | str | Path", budgets: str | Sequence[str]
) -> tuple[str, str, Grammar]:
    """Return a space within budgets, with its name and the question that it asks."""
    from blocksearch.arch.cost import read_budget
    from blocksearch.space.load import read_space

    within = [read_budget(text) for text in ([budgets] if isinstance(budgets, str) else budgets)]
    if isinstance(space, Grammar):
        return "space", "", space.where(*within)
    read = read_space(space)
    return str(space), read.question, read.space().where(*within)
