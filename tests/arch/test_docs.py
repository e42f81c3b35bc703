"""Every example in the docstrings of `arch` runs."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ARCH = Path(__file__).parent.parent.parent / "blocksearch" / "arch"
MODULES = sorted(path.stem for path in ARCH.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module):
    found = doctest.testmod(import_module(f"blocksearch.arch.{module}"))
    assert found.failed == 0
