"""Data sets: what is known by name, decoded images, and the fixed validation split. Nothing here
knows torch.
"""

from blocksearch.data.cache import data_root as data_root
from blocksearch.data.cache import digest as digest
from blocksearch.data.cache import keep as keep
from blocksearch.data.cache import load as load
from blocksearch.data.datasets import DataSet as DataSet
from blocksearch.data.datasets import get as get
from blocksearch.data.own import own_split as own_split
from blocksearch.data.readers import Arrays as Arrays
from blocksearch.data.splits import Split as Split
from blocksearch.data.splits import Summary as Summary
from blocksearch.data.splits import origin as origin
from blocksearch.data.splits import split_id as split_id
from blocksearch.data.splits import summary as summary
from blocksearch.data.splits import validation_split as validation_split
