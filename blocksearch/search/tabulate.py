"""Trains every network of a small space and the named points on the same seeds, and stores the
accuracy after each epoch in a file.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from blocksearch.arch.network import Network
from blocksearch.errors import ConfigError
from blocksearch.files import check_place, replace_file
from blocksearch.runs.callback import Callback
from blocksearch.runs.location import Location
from blocksearch.runs.plan import RunSettings, experiment
from blocksearch.runs.records import Job, Run, RunKey, RunState
from blocksearch.runs.scheduler import ensure
from blocksearch.search.definition import opening
from blocksearch.space.candidates import MOST
from blocksearch.space.grammar import Grammar

_COLUMNS = ("fingerprint", "seed", "state", "accuracies", "network")


def tabulate(
    space: str,
    grammar: Grammar,
    seeds: Sequence[int],
    settings: RunSettings,
    file: Path,
    callback: Callback,
) -> tuple[str, list[dict[str, object]], dict[str, int]]:
    """Train what the ledger lacks of a space, and write the table; return its title, its rows, and
    the FLOPs of each network by its digest.

    Raises ConfigError if the space is too large, or a run failed and has no place in a table.
    """
    title, jobs, networks, epochs = plan_table(space, grammar, seeds, settings, file)
    runs = ensure(jobs, settings, callback)
    failed = [run for run in runs.values() if run.state is RunState.FAILED]
    if failed:
        raise ConfigError(
            f"{len(failed)} trainings failed ({failed[0].reason}): the same command tries them "
            "again"
        )
    rows = _rows(networks, runs)
    _write(file, title, epochs, rows)
    return title, rows, {network.digest: network.cost.flops for network in networks}


def _check_file(file: Path, settings: RunSettings) -> None:
    if file.suffix != ".csv":
        raise ConfigError(f"a table is a .csv file, but got {file}")
    check_place(file, "a table")
    database = Location(settings.ledger).file
    if database is not None and database.resolve() == file.resolve():
        raise ConfigError(f"{file} is the database of these runs: a table has a file of its own")


def plan_table(
    space: str, grammar: Grammar, seeds: Sequence[int], settings: RunSettings, file: Path
) -> tuple[str, list[Job], list[Network], int]:
    """Return the title of a table, its trainings, networks, and number of epochs."""
    _check_file(file, settings)
    if grammar.enumeration.diagram.size > MOST:
        raise ConfigError(
            f"{space} has more than {MOST:,} networks: a table is for a space that can be trained "
            "whole"
        )
    everything = {network.digest: network for network in grammar}
    everything |= {network.digest: network for _, network in opening(grammar)}
    networks = list(everything.values())
    shared = experiment(settings, networks[0], grammar.inputs)
    title = shared.title(
        f"{space}, {len(networks)} networks, seeds {','.join(map(str, seeds))}", networks[0]
    )
    return title, shared.jobs(networks, seeds), networks, shared.recipe.epochs


def _rows(networks: Sequence[Network], runs: Mapping[RunKey, Run]) -> list[dict[str, object]]:
    texts = {network.digest: str(network) for network in networks}
    return [
        {
            "fingerprint": key.network,
            "seed": key.seed,
            "state": run.state,
            "accuracies": " ".join(map(repr, run.accuracies)),
            "network": texts[key.network],
        }
        for key, run in runs.items()
    ]


def _write(file: Path, title: str, epochs: int, rows: Sequence[Mapping[str, object]]) -> None:
    try:
        file.parent.mkdir(exist_ok=True)
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        about = {"title": title, "epochs": epochs}
        about["digest"] = digest_of(about, out.getvalue())
        replace_file(file, f"# {json.dumps(about)}\n{out.getvalue()}".encode())
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error


def digest_of(about: Mapping[str, object], rows: str) -> str:
    """Digest a table's first line and its rows, so that a damaged one is noticed."""
    return sha256(f"{about['title']}\n{about['epochs']}\n{rows}".encode()).hexdigest()
