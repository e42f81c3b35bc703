"""Every example in a docstring gives what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

import blocksearch

PACKAGE = Path(__file__).parent.parent / "blocksearch"
EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_give_what_they_say(name):
    module = importlib.import_module(name)
    public = {own: getattr(blocksearch, own) for own in dir(blocksearch) if own[0] != "_"}
    found = doctest.testmod(module, extraglobs=public | vars(module))
    assert found.attempted > 0
    assert found.failed == 0
