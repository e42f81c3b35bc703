"""Every example in a docstring gives what it says."""

import doctest
import importlib
from pathlib import Path
from types import FunctionType

import pytest

import blocksearch

PACKAGE = Path(__file__).parent.parent / "blocksearch"
EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_give_what_they_say(name, monkeypatch):
    monkeypatch.chdir(PACKAGE.parent)  # of the shipped studies
    module = importlib.import_module(name)
    public = {own: getattr(blocksearch, own) for own in dir(blocksearch) if own[0] != "_"}
    found = doctest.testmod(module, extraglobs=public | vars(module))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", blocksearch.__all__)
def test_each_name_of_the_face_shows_a_call(name):
    own = getattr(blocksearch, name)
    assert not isinstance(own, type | FunctionType) or ">>> " in (own.__doc__ or "")
