"""Decodes, keeps and divides images and labels, without torch."""

from blocksearch.data import resized, sets  # every data set registers itself

# isort: split
from blocksearch.data.cache import data_root, load
from blocksearch.data.config import DataConfig
from blocksearch.data.datasets import DATASETS, Archive, Arrays, Dataset, digest, get, register
from blocksearch.data.opening import open_dataset
from blocksearch.data.own import Own
from blocksearch.data.splits import (
    Images,
    Prepared,
    Split,
    SplitSummary,
    prepare,
    split_id,
    summary,
    validation_split,
)

__all__ = [
    "DATASETS",
    "Archive",
    "Arrays",
    "DataConfig",
    "Dataset",
    "Images",
    "Own",
    "Prepared",
    "Split",
    "SplitSummary",
    "data_root",
    "digest",
    "get",
    "load",
    "open_dataset",
    "prepare",
    "register",
    "resized",
    "sets",
    "split_id",
    "summary",
    "validation_split",
]
