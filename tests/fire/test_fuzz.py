"""Random input at every door that reads text; `python -m tests.fire.fuzz` tries more of it."""

import pytest

from blocksearch.errors import ConfigError
from tests.fire.fuzz import DOORS, drawn, numbers, somewhere, wrong

INPUTS = 100_000


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_no_input_gives_a_traceback_or_takes_long(door):
    tried, found = 0, []
    with somewhere():
        for of, number in numbers(INPUTS):
            if of == door:
                tried += 1
                text = drawn(door, number, seed=7)
                if said := wrong(door, text):
                    found.append((number, text[:200], said))
    assert tried >= 200
    assert found == []


@pytest.mark.parametrize("door", DOORS)
def test_a_few_inputs_are_taken_rightly(door):
    with somewhere():
        assert [wrong(door, drawn(door, number, seed=8)) for number in range(3)] == [None] * 3


@pytest.mark.parametrize("many", ["9", "٣", " ", ",", "(", "x", "\0"])
@pytest.mark.parametrize("door", sorted(set(DOORS) - {"command"}))
def test_a_long_run_of_one_character_is_taken_soon(door, many):
    with somewhere():
        for start in ("", "5", "cifar10/", "cifar10:", "flops <= 1", "kernel=", "effnet "):
            assert wrong(door, start + many * 20_000) is None, start


def test_most_inputs_are_near_to_what_is_right():
    """Of random texts alone, nothing would come behind the first check of a door."""
    taken = dict.fromkeys(DOORS, 0)
    for door in ("block", "network", "budget", "seeds", "widths", "input", "rungs"):
        for number in range(300):
            try:
                DOORS[door][2](drawn(door, number, seed=9))
                taken[door] += 1
            except Exception:
                continue
        assert 30 < taken[door] < 270, door


@pytest.mark.parametrize(
    ("reads", "says"),
    [
        (lambda text: text.index("?"), "ValueError"),
        (lambda text: (_ for _ in ()).throw(RuntimeError("x")), "RuntimeError: x"),
        (lambda text: sum(1 for _ in iter(int, 1)), "more than"),
    ],
)
def test_the_fuzzer_sees_what_is_wrong(monkeypatch, reads, says):
    monkeypatch.setitem(DOORS, "block", (1, DOORS["block"][1], reads))
    monkeypatch.setattr("tests.fire.fuzz.LONGEST", 0.5)
    with somewhere():
        assert says in wrong("block", "kernel=3x3")


def test_the_fuzzer_sees_what_is_slow_each_time(monkeypatch):
    """One pause of the machine, or of Python's own collector, is no finding."""
    monkeypatch.setattr("tests.fire.fuzz.SLOW", 0.05)
    pauses = iter([10**7])
    once = lambda _: sum(range(next(pauses, 0)))  # noqa: E731
    monkeypatch.setitem(DOORS, "block", (1, DOORS["block"][1], once))
    assert wrong("block", "kernel=3x3") is None
    monkeypatch.setitem(DOORS, "block", (1, DOORS["block"][1], lambda _: sum(range(10**7))))
    assert "s for 10 characters" in wrong("block", "kernel=3x3")


def test_the_fuzzer_knows_a_clean_line(monkeypatch):
    def refuse(text):
        error = ConfigError()
        error.args = ("two\nlines",)
        raise error

    monkeypatch.setitem(DOORS, "block", (1, DOORS["block"][1], refuse))
    with somewhere():
        assert "no clean line" in wrong("block", "kernel=3x3")
