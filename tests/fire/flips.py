"""Single bits of stored values, flipped in a file as it lies on a disk: no checksum is made
anew.
"""

import random
import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path


def columns(file: Path, table: str) -> list[str]:
    """Return the names of a table's columns."""
    with closing(sqlite3.connect(file)) as connection:
        return [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]


def flip(file: Path, table: str, draw: random.Random) -> str:
    """Flip a random bit of a random value of a table; return which, for a failing test to say."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.text_factory = bytes
        names = columns(file, table)
        rows = [row for (row,) in connection.execute(f'SELECT rowid FROM "{table}"')]
        while True:
            row, name = draw.choice(rows), draw.choice(names)
            asked = f'SELECT "{name}", typeof("{name}") FROM "{table}" WHERE rowid = ?'
            value, kind = connection.execute(asked, (row,)).fetchone()
            if value in (None, b""):
                continue
            changed, cast = _flipped(value, kind.decode(), draw)
            change = f'UPDATE "{table}" SET "{name}" = {cast} WHERE rowid = ?'
            with suppress(sqlite3.IntegrityError):  # not a number, or the key of another row
                connection.execute(change, (changed, row))
                return f"{table}, row {row}, {name}: {value!r} became {changed!r}"[:400]


def _flipped(value: object, kind: str, draw: random.Random) -> tuple[object, str]:
    if isinstance(value, int):
        return value ^ 1 << draw.randrange(31), "?"
    if isinstance(value, float):
        packed = bytearray(struct.pack("<d", value))
        return struct.unpack("<d", _one_bit(packed, draw))[0], "?"
    assert isinstance(value, bytes)
    return _one_bit(bytearray(value), draw), "?" if kind == "blob" else "CAST(? AS TEXT)"


def _one_bit(data: bytearray, draw: random.Random) -> bytes:
    bit = draw.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)
