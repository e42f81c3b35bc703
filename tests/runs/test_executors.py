"""Who trains does not decide what comes out: workers on one or several devices, this process, or an
executor of a user's own.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import blocksearch as bs
from blocksearch.errors import ConfigError
from blocksearch.runs.devices import machine, places_among
from blocksearch.runs.executor import EXECUTORS, Serial
from blocksearch.runs.processes import Workers
from blocksearch.runs.records import Group, Machine
from tests.test_api import SMALL, SPACE, made_up_images

NET = {"task": (made_up_images()), "widths": (4, 8)}


@pytest.fixture(autouse=True)
def _here(tmp_path_factory, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(tmp_path_factory.getbasetemp() / "executor-data"))
    monkeypatch.chdir(tmp_path)


class Counting(Serial):
    """An executor of a user's own, which counts the groups that it trains."""

    trained = 0

    def train_as_they_come(self, following, done, begun):
        def counted(group, runs):
            type(self).trained += 1
            done(group, runs)

        super().train_as_they_come(following, counted, begun)


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setitem(EXECUTORS, "counting", Counting)
    monkeypatch.setattr(Counting, "trained", 0)
    return Counting


def records(db, **fields):
    net = bs.network("effnet", **NET)
    asked = {"dataset": made_up_images(), "seeds": 4, "db": db} | SMALL | fields
    rows = bs.train(net, **asked).records()
    return [{name: row[name] for name in row if name != "seconds"} for row in rows]


def test_an_executor_of_ones_own_trains_commands_and_searches(counting):
    rows = records("a.db", executor="counting")
    assert [row["state"] for row in rows] == ["complete"] * 4
    assert counting.trained == 2  # seeds 0-2 in one module, and seed 3
    assert records("a.db", executor="counting") == rows
    assert counting.trained == 2  # nothing is trained twice
    study = bs.Study(
        SPACE.on(bs.Task(input=(3, 12, 12), classes=3)),
        "s.db",
        dataset=made_up_images(),
        references="none",
        executor="counting",
        seeds=1,
        **SMALL,
    )
    study.search(trials=2)
    assert counting.trained == 2 + len(study.trainings)
    with pytest.raises(ConfigError, match=r"unknown executor 'countin' .did you mean 'counting'"):
        records("b.db", executor="countin")


@pytest.mark.slow
def test_runs_do_not_depend_on_who_trains_them(counting):
    ways = [
        {"executor": "serial"},
        {"executor": "counting"},
        {"workers": 1},
        {"workers": 3, "device": "cpu,cpu"},
    ]
    first, *others = [records(f"{at}.db", **way) for at, way in enumerate(ways)]
    assert len({row["accuracy"] for row in first}) > 1
    for other in others:
        assert other == first


def device_of(group):
    return group.device


@pytest.mark.slow
def test_each_worker_has_one_device_by_a_fixed_rule():
    with Workers(3, "cuda:0,cuda:1") as workers:
        workers.places = Machine("cuda:0", "kind"), Machine("cuda:1", "kind")
        for _ in range(2):
            assert workers.together(device_of, Group(jobs=())) == ["cuda:0", "cuda:1", "cuda:0"]


@pytest.mark.parametrize("executor", [Serial, pytest.param(Workers, marks=pytest.mark.slow)])
def test_a_probe_that_fails_is_left_out(executor):
    with executor(1) as workers:
        assert workers.probe([Group(jobs=())]) == {}


def test_without_a_count_two_workers_share_each_gpu():
    workers = Workers(None, "cuda")
    workers.places = tuple(Machine(f"cuda:{at}", "kind") for at in range(3))
    with workers:
        assert workers.count == 6


@given(st.lists(st.sampled_from("ab"), max_size=5), st.data())
def test_a_text_means_devices_of_one_kind(kinds, data):
    gpus = [Machine(f"cuda:{at}", kind) for at, kind in enumerate(kinds)]
    auto = places_among(gpus, "auto")
    alike = [each for each in gpus if each.machine == kinds[0]]
    assert list(auto) == (alike or [Machine("cpu", machine("cpu"))])
    if not gpus:
        for wanted in ("cuda", "cuda:0"):
            with pytest.raises(ConfigError, match="sees no CUDA device here"):
                places_among(gpus, wanted)
        return
    assert places_among(gpus, "cuda") == auto
    chosen = data.draw(st.lists(st.sampled_from(gpus), min_size=1, max_size=4))
    wanted = ",".join(each.device for each in chosen)
    if len({each.machine for each in chosen}) == 1:
        assert list(places_among(gpus, wanted)) == chosen
    else:
        with pytest.raises(ConfigError, match="of several kinds"):
            places_among(gpus, wanted)
    with pytest.raises(ConfigError, match=f"cuda:{len(gpus)}: torch .* sees {len(gpus)} CUDA"):
        places_among(gpus, f"{wanted},cuda:{len(gpus)}")


@pytest.mark.parametrize("text", ["tpu", "cuda:", "cuda:01", "auto,cpu", "cuda,cuda:1", "cpu,", ""])
def test_a_device_that_is_none_is_one_line(text):
    with pytest.raises(ConfigError, match="device must be auto, cpu, cuda or cuda:N") as caught:
        records("a.db", device=text)
    assert "\n" not in str(caught.value)


def test_serial_leaves_torch_as_it_was():
    before = torch.get_num_threads()
    for threads in (2, 1):
        torch.set_num_threads(threads)
        with Serial():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
