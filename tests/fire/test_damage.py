"""Damaged files of every kind that is read; `python -m tests.fire.damage` tries more of them."""

import pytest

from tests.fire import damage
from tests.fire.damage import BAD, KINDS, Kind, Outcome, text, tried


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
