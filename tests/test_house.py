"""The house: imports go down one list, each outside dependency has its doors, and light commands
stay light.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "blocksearch"
ROOMS = [
    {"cli"},
    {"api"},
    {"paper", "report"},
    {"ablation", "search"},
    {"runs"},
    {"training"},
    {"data"},
    {"space"},
    {"arch"},
    {"errors"},
]  # each may import itself and those below it; rooms on one level do not know each other
LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
DOORS = {
    "typer": {"cli"},
    "rich": {"report/console", "report/progress"},
    "plotly": {"report/interactive"},
    "matplotlib": {"report/pictures"},
    "optuna": {"search/optuna_io", "search/optuna_samplers", "search/study"},
    "filelock": {"search/locks", "runs/locks"},
    "threadpoolctl": {"cli/__init__", "search/loop"},
    "scipy": {"ablation/stats", "data/readers", "runs/metrics"},
    "sqlalchemy": {
        "runs/engine",
        "runs/ledger",
        "runs/location",
        "runs/peek",
        "runs/rows",
        "search/trials",
    },
    "torch": {
        "arch/network",  # for a type alone; the module is made by training, imported when asked for
        "training/build",
        "training/batches",
        "training/norm_act",
        "training/record",
        "training/step",
        "training/modules",
        "training/trainer",
        "training/plain",
        "training/timing",
        "runs/worker",
    },
    "numba": {"training/kernels"},
    "pooch": {"data/download"},
    "PIL": {"data/readers"},
    "platformdirs": {"data/cache"},
}
MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")
)


def imported(module: str, *, at_run_time: bool = False) -> set[str]:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    if at_run_time:
        types = "TYPE_CHECKING"
        tree.body = [
            n for n in tree.body if not (isinstance(n, ast.If) and types in ast.dump(n.test))
        ]
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    return names | {
        node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
    }


def upward(module: str, names: set[str]) -> set[str]:
    """Imports that go up the list of rooms."""
    return {name for name, step in steps(module, names).items() if step < 0}


def sideways(module: str, names: set[str]) -> set[str]:
    """Imports of a neighbour, which may be named in types alone."""
    room = module.split("/")[0]
    return {n for n, step in steps(module, names).items() if step == 0 and n.split(".")[1] != room}


def steps(module: str, names: set[str]) -> dict[str, int]:
    """How many levels down each import goes."""
    room = module.split("/")[0]
    if room not in LEVELS:  # the package itself: its public surface
        return {}
    inside = {name: name.split(".")[1] for name in names if name.startswith("blocksearch.")}
    return {name: LEVELS[other] - LEVELS[room] for name, other in inside.items()}


def at_the_wrong_door(module: str, names: set[str]) -> set[str]:
    """Outside dependencies that this module is no door to."""
    return {
        n
        for n in names
        for d, doors in DOORS.items()
        if n.split(".")[0] == d and not module.startswith(tuple(doors))
    }


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_and_use_the_doors(module):
    assert not upward(module, imported(module))
    assert not sideways(module, imported(module, at_run_time=True))
    assert not at_the_wrong_door(module, imported(module))


def test_the_rules_above_can_fail():
    assert upward("arch/cost", {"blocksearch.training.build"})
    assert sideways("search/loop", {"blocksearch.ablation.stats"})
    assert at_the_wrong_door("arch/cost", {"torch.nn"})


@pytest.mark.parametrize("module", MODULES)
def test_files_can_be_seen_whole(module):
    assert len((PACKAGE / f"{module}.py").read_text().splitlines()) <= 450  # on the way to 350


HEAVY = "import sys; heavy = {'torch', 'optuna', 'scipy', 'sqlalchemy'} & set(sys.modules); assert not heavy, heavy"


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize(
    "code",
    [
        "from blocksearch import Grammar",
        "import sys; sys.argv[1:] = ['--help']; from blocksearch.cli import main\ntry: main()\nexcept SystemExit: pass",
    ],
    ids=["Grammar", "--help"],
)
def test_light_commands_stay_light(code):
    run("-c", f"{code}\n{HEAVY}")


def test_the_lightness_test_can_fail():
    with pytest.raises(subprocess.CalledProcessError):
        run("-c", f"import torch\n{HEAVY}")
