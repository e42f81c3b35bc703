"""Describes where the runs of an answer came from, and how far other images would change one."""

from collections.abc import Collection

from blocksearch.arch.network import Network
from blocksearch.errors import ConfigError
from blocksearch.runs.plan import Experiment
from blocksearch.runs.records import Run


def mixture(runs: Collection[Run], *, strict: bool = False) -> str:
    """Say which kinds of devices and minor versions of torch gave the runs, where there are
    several; "" where there is one.

    Raises ConfigError if there are several and `strict` is asked for.
    """
    kinds = sorted(
        {
            f"{run.provenance['device']} with torch {_minor(run.provenance['torch'])}"
            for run in _made(runs)
        }
    )
    if len(kinds) < 2:
        return ""
    found = f"runs of different kinds are compared: {'; '.join(kinds)}"
    if strict:
        raise ConfigError(f"strict: {found}")
    return found


def notes(name: str, network: Network, runs: Collection[Run], experiment: Experiment) -> list[str]:
    """Say how far other images would have changed a run of one of an answer's networks, if one
    split judged them, and where all its runs came from.
    """
    own = [run for run in runs if run.key.network == network.digest and run.accuracy is not None]
    one = len({run.key.protocol for run in own}) == 1
    chosen = [min(own, key=lambda run: run.key.seed)] if one else []
    return [*(sampling(name, run, experiment) for run in chosen), sources(runs)]


def sources(runs: Collection[Run]) -> str:
    """Say in one line what made the runs, and when."""
    made = [run.provenance for run in _made(runs)]
    if not made:
        return "no run completed"
    dates = sorted(each["date"][:10] for each in made)
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    made_by = (
        f"blocksearch {_all(made, 'blocksearch')}, commits {_all(made, 'commit')}, "
        f"torch {_all(made, 'torch')}"
    )
    data = ", ".join(sorted({f"{run.key.dataset} {run.key.data[:12]}" for run in _made(runs)}))
    made_on = f"on {_all(made, 'device')}, {when}"
    return f"{len(made):,} runs: {made_by}, {made_on}, of images {data}"


def sampling(name: str, run: Run, experiment: Experiment) -> str:
    """Say what other images might have given a run; frames of one physical object are drawn
    together.
    """
    low, high = experiment.interval(run) or (0.0, 100.0)
    found = experiment.measured(run).accuracy
    drawn = "single images drawn" if experiment.images.groups is None else "whole tracks drawn"
    if experiment.ungrouped:
        drawn += f", although they come in {experiment.ungrouped}, so it is more"
    return (
        f"on other images, seed {run.key.seed} of {name} ({found:.2f} %) might have come "
        f"out at {low:.2f} to {high:.2f} % (95 %, {drawn}); "
        "the intervals above are over seeds, on these images"
    )


def _made(runs: Collection[Run]) -> list[Run]:
    return [run for run in runs if "torch" in run.provenance]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _all(made: list[dict[str, str]], key: str) -> str:
    return ", ".join(sorted({each[key] for each in made}))
