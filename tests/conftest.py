"""What all tests share: profiles of hypothesis, none with a deadline, since a busy machine is no
failure, and a folder of images, in which `digits` are drawn once.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from blocksearch.data import load

_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=20, **_CALM)
settings.register_profile("thorough", max_examples=100, **_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    """Return a data folder that all tests and their processes share; none writes to it by hand."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "data"
    folder.mkdir(exist_ok=True)
    for part in ("train", "test"):  # so that no test is the one which says that it reads images
        load("digits", part, folder)
    return folder


@pytest.fixture
def own_folders(monkeypatch, tmp_path):
    """Let a test have a cache and a data folder that no other one has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(tmp_path / "data"))
