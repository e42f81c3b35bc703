"""Damaged files of every kind that is read; `python -m tests.fire.damage` tries more of them."""

import pytest

from tests.fire import damage
from tests.fire.damage import BAD, KINDS, Kind, Outcome, flipped, outcome, text, tried


def found_bad(name, flips, every):
    counts = tried(name, flips, seed=1, every=every)
    assert counts.total() > 1
    return {each: counts[each] for each in BAD if counts[each]}


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_right_or_one_line(name):
    assert found_bad(name, flips=40, every=25) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_file_damaged_in_many_ways_is_right_or_one_line(name):
    assert found_bad(name, flips=100, every=3) == {}


@pytest.mark.parametrize(("name", "table"), [("database", b"ledger_"), ("study of Optuna's", b"t")])
def test_a_damaged_name_of_a_table_is_one_line(tmp_path, name, table):
    """SQLite repeats the name in what it says, which Python then cannot read."""
    kind = KINDS[name]
    file = kind.make(tmp_path)
    whole, right = file.read_bytes(), kind.read(file)
    places = [at for at in range(4096) if whole[at : at + len(table)] == table]
    for at in places[:: max(1, len(places) // 12)]:
        file.write_bytes(flipped(whole, 8 * at + 7))
        for beside in set(tmp_path.iterdir()) - {file}:
            beside.unlink()
        assert outcome(kind, file, right)[0] not in BAD, at


def test_every_bit_of_an_archives_directory_matters_not_or_is_one_line(tmp_path):
    kind = KINDS["own .npz"]
    file = kind.make(tmp_path)
    whole, right = file.read_bytes(), kind.read(file)
    start = whole.index(b"PK\1\2")
    for bit in range(8 * start, 8 * (start + 60)):
        file.write_bytes(flipped(whole, bit))
        assert outcome(kind, file, right)[0] not in BAD, bit


def loop(file):
    while True:
        file.stat()


@pytest.mark.parametrize(
    ("read", "bad"),
    [
        (lambda file: file.read_bytes(), Outcome.WRONG),
        (lambda file: file.read_text("ascii").index("z"), Outcome.TRACEBACK),
        (lambda file: file.read_bytes() == b"xyz" or loop(file), Outcome.HANG),
    ],
)
def test_what_is_read_wrongly_is_seen(monkeypatch, read, bad):
    monkeypatch.setattr(damage, "LONGEST", 0.1)
    monkeypatch.setitem(KINDS, "own", Kind(make=text("x", "xyz"), read=read))
    assert tried("own", 6)[bad] >= 1
