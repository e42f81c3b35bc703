"""Reports what a network gains on random networks of a space."""

from statistics import fmean
from typing import TYPE_CHECKING

from blocksearch.report.comparisons import interval_text, p_text
from blocksearch.report.figure import Fork, fork_figure
from blocksearch.report.table import Column, Report, Table, form

if TYPE_CHECKING:  # only to describe arguments: its module loads scipy
    from blocksearch.ablation.gain import Gain

_COLUMNS = (
    Column(name="n", label="seeds"),
    Column(name="accuracy", unit="%", form=form(".2f")),
    Column(name="sampled", label="random networks"),
    Column(name="sampled_accuracy", label="their accuracy", unit="%", form=form(".2f")),
    Column(name="gain", unit="points", form=form("+.2f")),
    Column(name="interval", unit="points", form=interval_text),
    Column(name="p_value", label="p", form=p_text),
    Column(name="verdict", left=True),
)


def gain_report(found: "Gain") -> Report:
    """Show a gain with its interval, and say what it is about."""
    record = found.record()
    row = {**record, "n": len(found.accuracies), "interval": found.interval}
    units = {"accuracy": "%", "sampled_accuracy": "%", "gain": "points"}
    before = f"{found.stored} of the {found.asked} random networks had been trained before"
    notes = [
        *([f"{before}; runs count where the random draw has them"] if found.stored else []),
        "the interval (95 %) has the spread among them and that between the network's seeds; "
        "it is about these images",
        "a network that these very runs chose looks better than it is: ask about new seeds then",
    ]
    if found.failed:
        notes.append(
            f"{len(found.failed)} runs have no accuracy and are in no mean: "
            + "; ".join(map(str, found.failed))
        )
    table = Table(
        name="gain",
        columns=_COLUMNS,
        rows=(row,),
        data=(record,),
        units=units,
        notes=(*notes, *found.notes),
    )
    points = {"network": list(found.accuracies.values()), "random networks": found.sampled}
    forks = [
        Fork(name=name, mean=fmean(own) if own else None, points=own)
        for name, own in points.items()
    ]
    title = "Accuracy of the network, every seed, and of random networks of the space"
    figure = fork_figure("gain", title, "accuracy, %", forks)
    return Report(title=found.title, tables=(table,), figures=(figure,))
