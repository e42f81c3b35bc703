"""A fault of the machine is no fact about a network."""

from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest

from blocksearch.data.splits import Split
from blocksearch.errors import RunError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.plan import Experiment
from blocksearch.runs.records import Machine, RunState
from blocksearch.runs.worker import failed_run
from blocksearch.search.trainings import ATTEMPTS, Trainings
from blocksearch.space.candidates import Candidates
from blocksearch.training.recipe_text import recipe_named
from tests.benchmarks.queues import proposed
from tests.made import made_images
from tests.search.spaces import TWELVE


class QuestionHistory:
    """Two trials to be carried out, and what was said of them."""

    def __init__(self):
        self.pool = Candidates(TWELVE)
        self.left = [proposed(row, number=row) for row in (1, 0)]
        self.finished = []

    def next(self):
        return self.left.pop() if self.left else None

    def finish(self, trial, accuracies, otherwise, *, reused=False):
        self.finished.append((trial.number, accuracies, otherwise))


@pytest.fixture
def asked():
    return QuestionHistory()


@pytest.fixture
def trainings(tmp_path, asked):
    recipe = recipe_named("fast", 1, {})
    images = made_images()
    shared = Experiment(protocol=Split("digits"), recipe=recipe, root=None, images=images)
    workers = SimpleNamespace(place=Machine("cpu", "here"))
    with (
        closing(Ledger(tmp_path / "a.db")) as ledger,
        closing(Trainings(asked, [1], shared, ledger, workers)) as made,
    ):
        yield made


def fails(trainings, group, reason="OSError: [Errno 28] No space left on device"):
    trainings.done(group, [failed_run(job, reason) for job in group.jobs])


def test_a_failed_training_is_tried_again_and_then_ends_the_search_with_its_reason(
    trainings, asked
):
    groups = []
    while (group := trainings.following()) is not None:
        groups.append(group)
        fails(trainings, group)
    assert len(groups) == ATTEMPTS
    assert len({group.jobs[0].key for group in groups}) == 1
    assert asked.finished == []
    with pytest.raises(RunError, match=r"failed 3 times \(OSError: \[Errno 28\] No space left"):
        trainings.check()


def test_others_that_are_running_then_are_kept(trainings, asked):
    first, other = trainings.following(), trainings.following()
    for _ in range(ATTEMPTS):
        fails(trainings, first)
        first = trainings.following()
    assert first is None
    run = failed_run(other.jobs[0], "")
    trainings.done(
        other,
        [replace(run, state=RunState.COMPLETE, accuracies=(50.0,), losses=(1.0,), epoch_to=1)],
    )
    assert asked.finished == [(1, (50.0,), "complete")]


def test_what_a_killed_driver_left_of_a_stored_run_is_removed(trainings, asked):
    group = trainings.following()
    group.checkpoint.write_bytes(b"kept")
    job, run = group.jobs[0], failed_run(group.jobs[0], "")
    run = replace(run, state=RunState.COMPLETE, accuracies=(50.0,), losses=(1.0,), epoch_to=1)
    trainings._ledger.add_all([(job, run)])
    trainings.close()
    asked.left = [proposed(0, number=0)]
    assert trainings.following() is None
    assert asked.finished == [(0, (50.0,), "complete")]
    assert not group.checkpoint.parent.exists()
