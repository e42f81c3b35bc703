"""What it costs that an acknowledged result survives a power cut: a small study with SQLite's full
synchronisation, and with none.

    python -m tests.benchmarks.durability --pairs 7

Searches with and without are made in turn, and compared pair by pair. On a busy machine the whole
times say little; what the driver spends in its database is measured apart, and the difference of
that, as a share of the whole, is the figure.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from blocksearch import cli
from blocksearch.runs import engine, location

MODES = ("FULL", "OFF")
WORDS = ["search", "tiny", "--dataset", "digits", "--max-images", "400", "--epochs", "1"]
WORDS += ["--references", "none", "--seeds", "1", "--trials", "4", "--workers", "1", "--quiet"]


class Spent:
    """Adds up the seconds of all statements and commits of this process."""

    def __init__(self) -> None:
        self.seconds, self._began = 0.0, 0.0
        sa.event.listen(sa.Engine, "before_cursor_execute", self._before)
        sa.event.listen(sa.Engine, "after_cursor_execute", self._after)

    def _before(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def _after(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._began

    def commit(self, connection: Any) -> None:
        self._before()
        super(location._Connection, connection).commit()
        self._after()


@contextlib.contextmanager
def synchronised(mode: str) -> Iterator[None]:
    """Let each connection of the ledger synchronise so."""
    before = engine._configure

    def configure(connection: Any, record: Any) -> None:
        before(connection, record)
        connection.execute(f"PRAGMA synchronous={mode}")

    engine._configure = configure
    try:
        yield
    finally:
        engine._configure = before


def study(mode: str, spent: Spent) -> tuple[float, float]:
    """Search; return the seconds of the whole, and those spent in the database."""
    with tempfile.TemporaryDirectory(dir=".") as folder, synchronised(mode):
        sys.argv = ["blocksearch", *WORDS, "--db", str(Path(folder) / "s.db")]
        spent.seconds, began = 0.0, time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            cli.main()
        return time.perf_counter() - began, spent.seconds


def main() -> None:
    """Print the median over pairs, with the least and the largest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    asked = parser.parse_args()
    spent = Spent()

    def commit(own: Any) -> None:
        spent.commit(own)

    location._Connection.commit = commit
    study("FULL", spent)  # what is loaded once
    shares, wholes = [], []
    for number in range(asked.pairs):
        found = {mode: study(mode, spent) for mode in MODES[:: 1 if number % 2 else -1]}
        (full, in_full), (off, in_off) = found["FULL"], found["OFF"]
        shares.append(100 * (in_full - in_off) / off)
        wholes.append(full / off)
        print(f"whole {full:.2f} and {off:.2f} s; database {in_full:.3f} and {in_off:.3f} s")
    print(
        f"full synchronisation costs {median(shares):.2f} % of a study ({min(shares):.2f} to "
        f"{max(shares):.2f}); whole times {median(wholes):.3f} ({min(wholes):.3f} to "
        f"{max(wholes):.3f})"
    )


if __name__ == "__main__":
    main()
