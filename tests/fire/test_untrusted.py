"""An untrusted file leads to no unpickling, code, process or socket; the hook is proved live."""

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import warnings
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest
from safetensors.numpy import save_file

from blocksearch.runs.ledger import Ledger
from blocksearch.training.weights import save
from tests.made import optuna_file
from tests.runs.test_ledger import make_job, make_run
from tests.search.made import searched


class Gadget:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def heard(kind, benign, file):
    """Return what an armed hook heard while a file was read."""
    command = [sys.executable, "-m", "tests.fire.audited", kind, benign, file]
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def optunas(file, what):
    """Make a study of Optuna's with something pickled among its attributes."""
    storage = optuna_file(file)
    study = optuna.create_study(storage=storage, directions=["maximize", "minimize"])
    trial = study.ask()
    text = pickle.dumps(what).hex()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage.set_trial_system_attr(trial._trial_id, "cma:optimizer:0", text)
        storage.set_study_system_attr(study._study_id, "cma:optimizer", text)
    study.tell(trial, [1.0, 2.0])
    storage.remove_session()
    storage.engine.dispose()


@pytest.fixture
def files(tmp_path):
    mark = tmp_path / "came"
    ledger = tmp_path / "ledger.db"
    with closing(Ledger(ledger)) as opened:
        opened.add_all([(make_job(), make_run(make_job()))])
    study = searched(tmp_path / "study.db", trials=3)
    save(tmp_path / "kept.npz", {"a": np.arange(3)})
    save_file({"a": np.arange(3.0)}, tmp_path / "w.safetensors")
    pickled = np.array([Gadget(mark)], object)
    np.savez(tmp_path / "gadget.npz", **{"names of all arrays": np.array(["a"]), "a": pickled})
    np.save(tmp_path / "gadget.npy", pickled, allow_pickle=True)
    (tmp_path / "gadget.safetensors").write_bytes(pickle.dumps(Gadget(mark)))
    optunas(tmp_path / "theirs.db", Gadget(mark))
    optunas(tmp_path / "plain.db", "no gadget")
    shutil.copy(ledger, tmp_path / "hostile.db")
    with closing(sqlite3.connect(tmp_path / "hostile.db")) as connection, connection:
        text = pickle.dumps(Gadget(mark))
        connection.execute("UPDATE ledger_networks SET layers = ?", (text,))
        connection.execute("UPDATE ledger_runs SET provenance = ?, right = ?", (text, text))
    return tmp_path, study


@pytest.mark.slow
def test_no_file_leads_to_code(files):
    folder, study = files
    asked = [
        ("ledger", folder / "ledger.db", folder / "hostile.db"),
        ("study", folder / "plain.db", folder / "theirs.db"),
        ("study", study, folder / "hostile.db"),
        ("checkpoint", folder / "kept.npz", folder / "gadget.npz"),
        ("checkpoint", folder / "kept.npz", folder / "gadget.npy"),
        ("weights", folder / "w.safetensors", folder / "gadget.safetensors"),
    ]
    for each in asked:
        assert heard(*each) == "", each
    assert not (folder / "came").exists()


@pytest.mark.slow
def test_the_hook_hears_a_gadget(files):
    folder, _ = files
    said = heard("gadget", folder / "kept.npz", folder / "gadget.npy")
    assert "pickle.find_class" in said
    assert "os.system" in said
    assert (folder / "came").exists()
