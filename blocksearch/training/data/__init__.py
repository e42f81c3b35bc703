"""Data sets: what is known by name, decoded images, and the fixed validation split. Nothing here knows torch."""

from blocksearch.training.data.catalog import DataSet as DataSet
from blocksearch.training.data.catalog import get as get
from blocksearch.training.data.own import own_split as own_split
from blocksearch.training.data.readers import Split as Split
from blocksearch.training.data.split import split_id as split_id
from blocksearch.training.data.split import validation_split as validation_split
from blocksearch.training.data.store import data_root as data_root
from blocksearch.training.data.store import digest as digest
from blocksearch.training.data.store import keep as keep
from blocksearch.training.data.store import load as load
