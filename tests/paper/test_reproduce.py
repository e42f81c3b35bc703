"""The paper's tables, reproduced on made-up signs in real processes; and that nothing else judges
by test images.
"""

import ast
import json
import os
import subprocess
import sys
import time
from contextlib import closing
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import blocksearch as package
from blocksearch.arch.cost import cost
from blocksearch.arch.zoo import TASKS, baseline_flops
from blocksearch.errors import ConfigError
from blocksearch.paper.reproduce import least_decisive, networks_of, rank_correlation
from blocksearch.paper.tables import TABLES
from blocksearch.runs.ledger import Ledger
from tests.data.test_data import write_gtsrb
from tests.runs.test_executor import workers_of

SMALL = ["--widths", "4,6,8", "--epochs", "2", "--seeds", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signs")
    write_gtsrb(folder)
    return folder


def blocksearch(folder: Path, root: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"BLOCKSEARCH_DATA": str(root), "COLUMNS": "200"}
    command = [sys.executable, "-m", "blocksearch", *arguments]
    return subprocess.run(
        command,
        check=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def decoded(root: Path) -> set[str]:
    """Splits that some command has read under a root."""
    return {place.name for place in (root / ".blocksearch").glob("gtsrb-*")}


@pytest.mark.slow
def test_a_table_is_trained_once_and_stands_beside_the_papers(root, tmp_path):
    foreseen = blocksearch(tmp_path, root, "reproduce", "table4", *SMALL, "--dry-run").stdout
    assert "12 runs to train (0 already in the database)" in foreseen
    answer = json.loads(blocksearch(tmp_path, root, "reproduce", "table4", *SMALL, "--json").stdout)
    assert answer["title"].startswith(
        "Table 4, widths 4,6,8 instead of 8,16,32; gtsrb (172 training images where 39,209 are "
        "published; tested on 3 test images"
    )
    assert "172 training images, 2 epochs" in answer["title"]
    assert answer["title"].endswith("judged on 3 images of test; seeds 0,1")
    rows = {row["network"]: row for row in answer["networks"]}
    large = ["effnet_large", "effnet_large_published"]
    assert list(rows) == ["baseline", *large, "mobilenet", "shufflenet", "effnet"]
    for row in rows.values():
        assert (len(row["accuracies"]), row["seeds"]) == (2, [0, 1])
        assert all(round(3 * accuracy / 100, 6) in (0, 1, 2, 3) for accuracy in row["accuracies"])
        assert row["factor"] == row["flops"] / rows["baseline"]["flops"]
    assert rows["effnet"]["published_accuracy"] == 91.79
    pairs = {(each["value"], each["reference"]): each["n"] for each in answer["comparisons"]}
    assert pairs[("effnet", "mobilenet")] == pairs[("mobilenet", "baseline")] == 2
    assert "12 runs: blocksearch" in answer["notes"][-1]
    assert rows["effnet"]["published_flops"] == 344_100
    with closing(Ledger(tmp_path / "results" / "gtsrb.db", create=False)) as ledger:
        assert {(len(run.accuracies), len(run.losses), run.epoch_to) for run in ledger.runs()} == {
            (1, 2, 2)
        }
    again = blocksearch(tmp_path, root, "reproduce", "table4", *SMALL)
    assert "nothing to train: all 12 runs" in again.stderr
    assert "EffNet large (published FLOPs)" in again.stdout


@pytest.mark.slow
def test_only_a_reproduction_reads_test_images(tmp_path):
    """And the check can fail: the last line is the command that does read them."""
    root = tmp_path / "data"
    write_gtsrb(root)
    common = [
        "--dataset",
        "gtsrb",
        "--widths",
        "4,6",
        "--epochs",
        "1",
        "--seeds",
        "2",
        "--workers",
        "1",
    ]
    blocksearch(tmp_path, root, "train", "effnet", *common)
    blocksearch(tmp_path, root, "ablate", "--factor", "residual", "--values", "add", *common)
    assert decoded(root) == {"gtsrb-train"}
    blocksearch(tmp_path, root, "reproduce", "table7", *SMALL, "--dry-run")
    assert decoded(root) == {"gtsrb-train", "gtsrb-test"}


@pytest.mark.slow
def test_a_table_without_its_images_is_said_not_to_have_been_run(root, tmp_path):
    said = blocksearch(
        tmp_path, root, "reproduce", "all", "--seeds", "2", "--epochs", "1", "--dry-run"
    ).stdout.splitlines()
    titles = [line for line in said if line.startswith(("Table", "Section"))]
    assert [line.split(",")[0].split(" (")[0][:16] for line in titles] == [
        *(
            "Table 2: not run",
            "Table 3: not run",
            "Table 4",
            "Table 5: not run",
            "Table 6: not run",
            "Table 7",
            "Section 3",
        )
    ]


def asks_for_test_images(source: str) -> bool:
    """Whether a module makes a split that is judged by test images, or loads the split itself."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    by_word = any(keyword.arg == "test" for call in calls for keyword in call.keywords)
    by_place = any(
        ast.unparse(call.func).endswith("Split") and len(call.args) > 3 for call in calls
    )
    loaded = any(
        ast.unparse(call.func).endswith("load") and "'test'" in map(ast.unparse, call.args)
        for call in calls
    )
    return by_word or by_place or loaded


@pytest.mark.parametrize(
    "source",
    [
        "replace(p, test=True)",
        "Split(d, 0, None, True)",
        "plan.Split(d, test=not False)",
        "data.load(name, 'test', root)",
    ],
)
def test_a_module_that_asks_for_test_images_would_be_found(source):
    assert asks_for_test_images(source)
    assert not asks_for_test_images("Split(dataset, split, images); load(name, 'train')")


def test_two_modules_ask_for_test_images():
    house = Path(package.__file__).parent
    sources = {path.relative_to(house).as_posix(): path.read_text() for path in house.rglob("*.py")}
    asking = {name for name, text in sources.items() if asks_for_test_images(text)}
    judging = {"data/splits.py", "paper/reproduce.py", "search/evaluation.py"}
    # These hand a user's own test images on, and count them in a description; none trains.
    handing = {"api/catalog.py", "data/opening.py", "data/overview.py", "api/study.py"}
    assert asking == judging | handing


@pytest.mark.parametrize("number", TABLES)
def test_every_printed_row_has_its_network(number):
    task = TASKS[TABLES[number][0]]
    found = networks_of(number, task)
    assert [row for name, row, _ in found if name != "effnet_large_published"] == list(
        TABLES[number][1]
    )
    for name, _, network in found:
        if name in ("effnet_large", "effnet_large_published"):
            budget = baseline_flops(task, "network" if name == "effnet_large" else "published")
            assert cost(network.layers).flops <= budget
    with pytest.raises(ConfigError, match="results in tables 2 to 7, but got table 1"):
        networks_of(1, task)


def test_an_order_is_compared_by_ranks_exactly():
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 99]) == (
        pytest.approx(1),
        pytest.approx(2 / 24),
    )
    for one, other in (([3, 1, 2, 5, 4, 4], [1, 2, 2, 4, 3, 9]), ([4, 1, 2, 3], [1, 1, 2, 2])):
        found, p = rank_correlation(one, other)
        wanted = [stats.spearmanr(order, other).statistic for order in permutations(one)]
        assert found == pytest.approx(stats.spearmanr(one, other).statistic)
        assert p == pytest.approx(np.mean(np.abs(wanted) >= abs(found) - 1e-9))
    assert (
        rank_correlation([1, 2], [1, 2])
        is rank_correlation([1, 1, 1], [1, 2, 3])
        is rank_correlation([1, 2, 3], [5, 5, 5])
        is None
    )


@pytest.mark.slow
@pytest.mark.parametrize("count", range(3, 8))
def test_from_which_correlation_on_an_order_is_decided(count):
    """By the p of every order, each calculated for itself."""
    every = [rank_correlation(range(count), order) for order in permutations(range(count))]
    decided = [abs(correlation) for correlation, p in every if p < 0.05]
    least = least_decisive(count)
    assert least == (round(min(decided), 3) if decided else None)


@pytest.mark.slow
def test_names_of_one_network_show_its_runs_once_and_are_not_compared(root, tmp_path):
    small = ["--widths", "2,2,2", "--epochs", "1", "--seeds", "3", "--workers", "1"]
    answer = json.loads(blocksearch(tmp_path, root, "reproduce", "table4", *small, "--json").stdout)
    rows = {row["network"]: row for row in answer["networks"]}
    assert rows["effnet"]["text"] == rows["effnet_large"]["text"]
    assert {len(row["accuracies"]) for row in answer["networks"]} == {3}
    assert any(
        note.startswith("one network at these widths: ") and "EffNet" in note
        for note in answer["notes"]
    )
    texts = {name: row["text"] for name, row in rows.items()}
    assert all(texts[each["value"]] != texts[each["reference"]] for each in answer["comparisons"])


@pytest.mark.slow
def test_a_table_with_a_training_that_failed_says_so_and_exits_with_1(root, tmp_path):
    """Its first training loses its worker twice."""
    environment = os.environ | {"BLOCKSEARCH_DATA": str(root), "COLUMNS": "200"}
    command = [
        sys.executable,
        "-m",
        "blocksearch",
        "reproduce",
        "table4",
        *SMALL,
        "--epochs",
        "20",
        "--json",
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:
        assert "12 runs to train" in next(line for line in process.stderr if "to train" in line)
        killed = set()
        while len(killed) < 2:
            for worker in workers_of(process.pid):
                if worker.pid not in killed:
                    killed.add(worker.pid)
                    worker.kill()
            time.sleep(0.1)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    (failure,) = [failure for row in json.loads(said)["networks"] for failure in row["failures"]]
    assert failure["state"] == "failed"
    assert failure["reason"].startswith("its worker process died 2 times")
