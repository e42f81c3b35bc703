"""Defines the identity of a training (`RunKey`) and its record (`Run`)."""

import hashlib
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.cost import cost
from blocksearch.arch.layers import Layers
from blocksearch.data.splits import Split
from blocksearch.training.outcome import Divergence
from blocksearch.training.recipe import Recipe


@dataclass(frozen=True, order=True, kw_only=True)
class RunKey:
    """Identity of a training; equal keys are trained only once.

    `network` is the fingerprint of the resolved layers, `data` the digest of the training images
    and labels, `protocol` the validation split's id or `test`, `recipe` a digest with the
    schedule's horizon and precision in it.
    """

    network: str
    dataset: str
    data: str
    protocol: str
    recipe: str
    seed: int

    @property
    def without_seed(self) -> "RunKey":
        """The same training of no seed in particular: equal for all seeds."""
        return replace(self, seed=0)

    @property
    def file_name(self) -> str:
        """Name of the file of this run's weights."""
        return f"{hashlib.sha256(repr(self).encode()).hexdigest()[:32]}.safetensors"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Where runs are kept and known, and who trains those that are missing.

    `device` is `auto`, `cpu`, `cuda` or a list such as `cuda:0,cuda:1`; `executor` is the name of
    one. `sources` are other databases whose runs are known, too; nothing is written there.
    """

    ledger: str
    workers: int | None
    device: str = "auto"
    sources: tuple[str, ...] = ()
    executor: str = "processes"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A RunKey with what a worker needs to train it.

    `text` is how the network was written, `images` how many an epoch has, `weights` the file in
    which the trained weights are kept, where they are wanted.
    """

    key: RunKey
    text: str
    layers: Layers
    protocol: Split
    recipe: Recipe
    root: Path | None
    images: int
    weights: Path | None = None

    @property
    def description(self) -> dict[str, str]:
        """What the weights of this job are of: how the network was written, and the run's key."""
        return {"text": self.text} | {name: str(value) for name, value in asdict(self.key).items()}

    @property
    def lacks_weights(self) -> bool:
        """Whether weights are wanted that are not there."""
        return self.weights is not None and not self.weights.exists()

    def keeping(self, folder: Path | None) -> "Job":
        """Keep the trained weights in a folder, in a file named by the run."""
        return replace(self, weights=folder / self.key.file_name if folder else None)


@dataclass(frozen=True)
class Machine:
    """Where trainings run: a device as torch names it (`cpu`, `cuda:0`), and the machine as modes
    are stored for it.
    """

    device: str
    machine: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Jobs that one worker carries out at once: the same training with several seeds, or just one.

    `checkpoint` is the file in which it is kept while it runs, so that an interrupted training
    resumes. `until` is the epoch after which it stops, short of the horizon; it can be taken up
    again from its checkpoint.
    """

    jobs: tuple[Job, ...]
    checkpoint: Path | None = None
    device: str = "cpu"
    until: int | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(job.key.seed for job in self.jobs)

    @property
    def flops(self) -> int:
        """FLOPs of its trainings, forward and backward, which is three times forward."""
        return sum(
            3 * cost(each.layers).flops * each.images * each.recipe.epochs for each in self.jobs
        )

    def halves(self) -> "tuple[Group, Group]":
        """Divide the seeds in two, for a device on which all do not fit."""
        middle = len(self.jobs) // 2
        first, second = (
            replace(self, jobs=jobs) for jobs in (self.jobs[:middle], self.jobs[middle:])
        )
        if self.checkpoint is None:
            return first, second
        own = [
            replace(half, checkpoint=self.checkpoint.with_name(half.file_name))
            for half in (first, second)
        ]
        return own[0], own[1]

    def kept_in(self, folder: Path | None) -> "Group":
        """Set the group's checkpoint in a folder, if there is one."""
        return replace(self, checkpoint=folder / self.file_name) if folder else self

    @property
    def file_name(self) -> str:
        """Name of the checkpoint of these seeds."""
        return f"{self.digest[:32]}.npz"

    @property
    def digest(self) -> str:
        """Digest of what is trained, seeds and all."""
        return hashlib.sha256(repr([job.key for job in self.jobs]).encode()).hexdigest()


class RunState(StrEnum):
    """What became of a training."""

    COMPLETE = "complete"
    PARTIAL = "partial"  # stopped short of the schedule's end; it can go on
    DIVERGED = "diverged"  # a loss left the finite numbers
    FAILED = "failed"  # the machine's fault, not the network's; it is tried again

    @property
    def is_final(self) -> bool:
        """Whether the training is over; one that is not is taken up again."""
        match self:
            case RunState.COMPLETE | RunState.DIVERGED:
                return True
            case RunState.PARTIAL | RunState.FAILED:
                return False
        assert_never(self)


FINAL = tuple(state for state in RunState if state.is_final)


@dataclass(frozen=True, kw_only=True)
class Run:
    """Record of a training over the epochs `epoch_from` (excluded) to `epoch_to`.

    `accuracies` are percent, one an epoch (test images judge after the last one only), and `losses`
    beside them. `right` holds one bit per evaluated image after the last epoch, `predictions` its
    predicted class; runs of before have none. A run that diverged or failed has a `reason`, and one
    that diverged its `divergence`; of runs of before the reason alone says it. `provenance` says
    where and with what. `seconds` are those since the first epoch, whoever trained them. One that
    was read from a database has the checksum of its `row`.
    """

    key: RunKey
    epoch_from: int = 0
    epoch_to: int
    state: RunState
    reason: str = ""
    divergence: Divergence | None = None
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    right: NDArray[np.bool_]
    predictions: NDArray[np.uint16] | None = None
    seconds: float
    provenance: dict[str, str]
    row: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"seed {self.key.seed} {self.state}: {self.reason}"

    @property
    def ending(self) -> dict[str, object]:
        """How a seed ended, as fields: in a state, why, and where it diverged. What its loss became
        is a text, `nan`, `inf` or `-inf`: JSON has no number for it.
        """
        own = self.divergence
        return {
            "seed": self.key.seed,
            "state": str(self.state),
            "reason": self.reason,
            "diverged_epoch": own and own.epoch,
            "diverged_step": own and own.step,
            "diverged_loss": own and str(own.value),
        }

    @property
    def accuracy(self) -> float | None:
        """Percent after the last epoch, or None if the run did not complete."""
        return self.accuracies[-1] if self.state is RunState.COMPLETE else None

    def accuracy_at(self, epoch: int) -> float | None:
        """Return percent after an epoch, counted from 1, or None if the run did not reach it."""
        return self.accuracies[epoch - 1] if epoch <= len(self.accuracies) else None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a command will train: the groups not yet in the ledger, how many runs already are, and
    the estimated seconds.
    """

    groups: tuple[Group, ...]
    known: int
    seconds: float

    @property
    def missing(self) -> tuple[Job, ...]:
        """The jobs not yet in the ledger."""
        return tuple(job for group in self.groups for job in group.jobs)

    @property
    def flops(self) -> int:
        """What the missing runs cost."""
        return sum(group.flops for group in self.groups)
