"""Stored runs answer without images, and a second database is read and not written."""

import hashlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.errors import DataError
from blocksearch.runs.callback import Callback
from blocksearch.runs.config import RunConfig
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.plan import RunSettings, experiment
from blocksearch.runs.recall import recall, stored_images
from blocksearch.runs.records import RunState
from blocksearch.runs.scheduler import ensure, foresee, remember_images
from tests.ablation.test_study import made_run

NETWORK = named_network("mobilenet", replace(TASKS["digits"], widths=(4, 6, 8)))


@pytest.fixture
def answered(tmp_path_factory, root):
    """A database that has two runs and says what their images are, made with images."""
    folder = tmp_path_factory.mktemp("answered")
    settings = RunConfig(
        dataset="digits", max_images=64, data_root=root, db=str(folder / "shipped.db")
    ).settings()
    jobs = experiment(settings, NETWORK).jobs([NETWORK], (0, 1))
    with closing(Ledger(settings.ledger)) as ledger:
        remember_images([(jobs[0].protocol, jobs[0].key.data)], root, ledger)
        ledger.add_all((job, made_run(job.key, RunState.COMPLETE, (50.0,))) for job in jobs)
    return settings


def digest(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def test_what_a_second_database_has_is_not_trained_and_nothing_is_written(answered, tmp_path):
    before = digest(answered.ledger)
    own = replace(answered, ledger=str(tmp_path / "own.db"), sources=(answered.ledger,))
    jobs = experiment(own, NETWORK).jobs([NETWORK], (0, 1))
    runs = ensure(jobs, own, Callback())
    assert [run.accuracy for run in runs.values()] == [50.0, 50.0]
    assert foresee(jobs, own, Callback()).known == 2
    assert not (tmp_path / "own.db").exists()
    assert digest(answered.ledger) == before


def test_an_answer_needs_no_images_where_runs_say_what_they_were(answered, monkeypatch):
    """GTSRB's images are not here; runs of it are asked for by the digest that they were of."""
    with closing(Ledger(answered.ledger)) as ledger:
        (images,) = ledger.all_images()
        ledger.add_images(replace(images, dataset="gtsrb", digest="e" * 64))
    nowhere = Path(answered.ledger).parent / "nothing here"
    settings = RunSettings(
        protocol=replace(answered.protocol, dataset="gtsrb"),
        recipe=answered.recipe,
        root=nowhere,
        ledger=answered.ledger,
        workers=1,
    )
    network = named_network("mobilenet", TASKS["gtsrb"])
    shared = experiment(settings, network)
    assert shared.images.digest == "e" * 64
    assert shared.images.evaluation == len(images.labels)
    with pytest.raises(DataError):
        experiment(replace(settings, ledger=f"{nowhere}.db"), network)
    with closing(Ledger(answered.ledger)) as ledger:
        ledger.add_images(replace(images, dataset="gtsrb", digest="f" * 64))
    both = f"runs of several sets of gtsrb images are stored ({'e' * 12} and {'f' * 12})"
    with pytest.raises(DataError) as caught:
        experiment(settings, network)
    assert both in str(caught.value)


def test_images_of_two_digests_are_not_mixed(answered):
    with closing(Ledger(answered.ledger)) as ledger:
        (images,) = ledger.all_images()
        ledger.add_images(replace(images, digest="f" * 64))
    found = stored_images(images.dataset, images.split, [answered.ledger])
    assert [each.digest for each in found] == [images.digest, "f" * 64]


def test_what_is_nowhere_is_not_known(answered, tmp_path):
    jobs = experiment(answered, NETWORK).jobs([NETWORK], (0, 7))
    found = recall(jobs, str(tmp_path / "none.db"), answered.ledger)
    assert [key.seed for key in found] == [0]
