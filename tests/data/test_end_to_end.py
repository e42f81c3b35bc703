"""From pictures in a folder to a Pareto front by two commands; and large images, whose number costs
no memory.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import blocksearch
from tests.benchmarks.memory import measured

CLASSES = ("ant", "bee", "cat", "dog", "elk")


def patterns(root: Path, count: int, shape: tuple[int, ...]) -> Path:
    """Write noisy stripes, whose width says the class."""
    random = np.random.default_rng(11)
    for k in range(count):
        name = CLASSES[k % 5]
        stripes = 60 * np.sin(np.arange(shape[0]) / (1 + k % 5) + random.uniform(0, 6))
        stripes = stripes.reshape(-1, *[1] * (len(shape) - 1))
        pixels = np.clip(random.normal(120, 40, shape) + stripes, 0, 255).astype(np.uint8)
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name / f"{k}.png")
    return root


@pytest.mark.slow
def test_two_commands_from_a_folder_to_a_front(tmp_path):
    source = patterns(tmp_path / "photos", 600, (64, 40, 3))
    program = [sys.executable, "-m", "blocksearch"]
    common = ["--json", "--quiet", "--data-root", str(tmp_path / "data")]
    found = subprocess.run(
        [*program, "data", "describe", str(source), *common], capture_output=True, check=True
    )
    assert json.loads(found.stdout)["images"] == 600
    search = ["search", "tiny", "--dataset", str(source), "--trials", "2", "--epochs", "2"]
    search += ["--seeds", "1", "--references", "none", "--db", str(tmp_path / "photos.db"), *common]
    ended = subprocess.run([*program, *search], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    front = json.loads(ended.stdout)["front"]
    assert front


def lines_of(program: str) -> list[str]:
    return [line for line in program.splitlines() if line.strip() and line[0] != "#"]


def learned(model: torch.nn.Module, photos: Any) -> float:
    """Return the loss over the images that are learned from."""
    images, labels = photos.train.arrays()
    with torch.no_grad():
        logits = model(torch.as_tensor(images))
    return float(torch.nn.functional.cross_entropy(logits, torch.as_tensor(labels)))


@pytest.mark.slow
def test_the_guides_lines_from_a_folder_to_a_loop_of_ones_own(tmp_path, monkeypatch):
    """Its programs are run as they stand: ten lines to the front, five in one's own loop."""
    guide = Path(blocksearch.__file__).parent / "data" / "README.md"
    to_front, loop, judge = re.findall(r"```python\n(.*?)```", guide.read_text(), re.DOTALL)
    assert len(lines_of(to_front)) <= 10
    assert len(lines_of(loop)) == 5
    patterns(tmp_path / "photos", 600, (48, 48))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(tmp_path / "data"))
    torch.manual_seed(0)
    names: dict[str, Any] = {"__name__": "guide"}
    shorter = to_front.replace("trials=4", "trials=2")
    alone = 'seeds=1, references="none", executor="serial"'  # no worker has to begin
    exec(shorter.replace("seeds=1", alone), names)
    run, photos = names["runs"].records()[0], names["photos"]
    assert len(names["study"].front) >= 1
    assert photos.classes == CLASSES
    said = []
    monkeypatch.setitem(names, "print", lambda *told: said.append(told))
    losses = []
    for program in (judge, "model.train()", loop, judge):
        exec(program, names)
        if program == judge:
            losses.append(learned(names["model"], photos))
    (before, interval), (after, _) = said
    right = run["accuracy"] * len(photos.val) / 100
    assert right == pytest.approx(round(before * len(photos.val) / 100), abs=1e-9)  # each image
    assert interval[0] <= before <= interval[1]
    assert after >= interval[0]
    assert after <= interval[1] or losses[1] < losses[0] - 0.01  # it had more to learn, and did


MEASURED = """
import re, sys, threading, time
from pathlib import Path
import numpy as np
from blocksearch.data import DataConfig, Split, open_dataset, prepare
count, root, peak, over = int(sys.argv[1]), Path(sys.argv[2]), 0, False

def watch():
    global peak
    while not over:
        text = Path("/proc/self/status").read_text()
        peak = max(peak, int(re.search(r"RssAnon:\\s+([0-9]+)", text)[1]))
        time.sleep(0.01)

threading.Thread(target=watch, daemon=True).start()
random = np.random.default_rng(0)
base = random.integers(0, 256, (32, 224, 224, 3), np.uint8)

def images():
    for k in range(count):
        yield np.roll(base[k % 32], k, 0), k % 5

split = prepare(Split(open_dataset(images(), DataConfig(), root=root)), root)
assert len(split.training.labels) == count * 4 // 5
over = True
print(peak)
"""


def private_memory(count: int, root: Path) -> int:
    """Return the most private memory, in KiB, while so many large images are read and divided."""
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, str(count), str(root)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(said.stdout)


@pytest.mark.slow
def test_more_images_take_no_more_memory(tmp_path):
    few, many = private_memory(500, tmp_path / "few"), private_memory(2000, tmp_path / "many")
    assert many < 1.5 * 2**20
    assert many < few + 100 * 2**10


@pytest.mark.slow
def test_a_training_on_more_images_takes_no_more_memory():
    few, many = measured(640).worker, measured(2000).worker  # bytes
    assert many < 1.5e9
    assert many < few + 100e6
