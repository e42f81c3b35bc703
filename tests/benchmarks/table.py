"""Reads what `blocksearch tabulate` writes, for benchmarks that replay searches."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blocksearch.search.tabulate import digest_of


@dataclass(frozen=True, kw_only=True)
class Tabulated:
    """Accuracies (percent, one an epoch) by fingerprint and seed; of a run that diverged, those
    before it did.

    `epochs` is the horizon; an entry that is shorter is a run that diverged.
    """

    title: str
    epochs: int
    seeds: tuple[int, ...]
    accuracies: Mapping[tuple[str, int], tuple[float, ...]]


def read_table(file: Path) -> Tabulated:
    """Read a table. Raises ValueError if it was changed after it was written.

    One without a digest, as earlier versions wrote it, is taken as it stands.
    """
    first, _, text = file.read_bytes().decode().partition("\n")
    about = json.loads(first.removeprefix("# "))
    if about.get("digest", found := digest_of(about, text)) != found:
        raise ValueError(f"{file} was damaged or edited, and does not have its digest")
    entries = {
        (row["fingerprint"], int(row["seed"])): tuple(map(float, row["accuracies"].split()))
        for row in csv.DictReader(text.splitlines())
    }
    seeds = tuple(sorted({seed for _, seed in entries}))
    return Tabulated(title=about["title"], epochs=about["epochs"], seeds=seeds, accuracies=entries)
