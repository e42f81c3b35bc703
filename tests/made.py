"""Records as trainings leave them, made without training, and files as Optuna opens them."""

from pathlib import Path

import numpy as np
import sqlalchemy as sa
from optuna.storages import RDBStorage

from blocksearch.data.splits import SplitSummary


def made_images(dataset: str = "digits", count: int = 20) -> SplitSummary:
    """Return what is known of a hundred training images, and of so many that judge."""
    return SplitSummary(
        dataset=dataset,
        split="val20-v1.0",
        digest="d" * 64,
        training=100,
        available=100,
        labels=np.zeros(count, np.int64),
    )


def optuna_file(file: Path | str) -> RDBStorage:
    """Open a file as Optuna's users do, but leave no connection open for a test to be warned of."""
    return RDBStorage(f"sqlite:///{file}", engine_kwargs={"poolclass": sa.pool.NullPool})
