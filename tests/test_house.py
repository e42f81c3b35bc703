"""The house: imports go down one list, each outside dependency has its doors, and light commands
stay light.
"""

import ast
import io
import keyword
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

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
    {"files"},
    {"errors"},
]  # each may import itself and those below it; rooms on one level do not know each other
LEVELS = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
DOORS = {
    "typer": {"cli"},
    "rich": {"report/console", "report/progress"},
    "plotly": {"report/interactive"},
    "matplotlib": {"report/pictures"},
    "optuna": {
        "api/study",
        "search/optuna_import",
        "search/optuna_io",
        "search/optuna_samplers",
    },
    "filelock": {"search/begun", "runs/locks"},
    "threadpoolctl": {"cli/__init__", "search/loop"},
    "scipy": {"ablation/moderation", "ablation/power", "data/sets/readers", "runs/metrics"},
    "sqlalchemy": {
        "runs/described",
        "runs/engine",
        "runs/ledger",
        "runs/location",
        "runs/peek",
        "runs/questions",
        "runs/rows",
        "runs/schema",
        "search/trials",
    },
    "torch": {
        "api/models",
        "arch/block",  # as below
        "arch/network",  # for a type alone; the module is made by training, imported when asked for
        "arch/skeleton",  # for a type alone, as in arch/block
        "training/build",
        "training/batches",
        "training/exporters",
        "training/norm_act",
        "training/record",
        "training/replace",
        "training/step",
        "training/modules",
        "training/operators",
        "training/traced",
        "training/trainer",
        "training/usage",
        "training/users",
        "training/optimizers",
        "training/plain",
        "training/timing",
        "runs/devices",
        "runs/worker",
    },
    "numba": {"training/kernels"},
    "cloudpickle": {"training/traced"},
    "pooch": {"data/download"},
    "safetensors": {"training/weights"},
    "PIL": {"data/pictures"},
    "platformdirs": {"data/cache"},
}
# A value becomes a module of torch, or a table, when it is asked: the one way up.
LATER = {
    "arch/block": {"blocksearch.training.build"},
    "arch/network": {"blocksearch.training.build", "blocksearch.api.networks"},
    "arch/skeleton": {"blocksearch.training.traced"},
}
MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")
)


def imported(module: str, *, at_run_time: bool = False) -> set[str]:
    return names_in((PACKAGE / f"{module}.py").read_text(), module, at_run_time=at_run_time)


def names_in(source: str, module: str, *, at_run_time: bool = False) -> set[str]:
    """Names that a module imports, wherever in it: modules, and modules out of packages."""
    tree = ast.parse(source)
    if at_run_time:
        tree.body = [
            n
            for n in tree.body
            if not (isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test))
        ]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= set(whence(node, module))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            found |= {own.value for own in node.args[:1] if isinstance(own, ast.Constant)}
    return found


def whence(node: ast.ImportFrom, module: str) -> Iterator[str]:
    """What an import takes: the module named, or the one that it takes out of a package."""
    above = ["blocksearch", *module.split("/")][: -node.level] if node.level else []
    base = ".".join([*above, *([node.module] if node.module else [])])
    for alias in node.names:
        inner = f"{base}.{alias.name}"
        known = inner.removeprefix("blocksearch.").replace(".", "/")
        is_module = base.startswith("blocksearch") and (
            known in MODULES or f"{known}/__init__" in MODULES
        )
        yield inner if is_module else base


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
    """Outside dependencies that this module is no door to; one that has no door at all, too."""
    outside = {
        n
        for n in names
        if n.split(".")[0] not in sys.stdlib_module_names | {"blocksearch", "numpy"}
    }
    return {n for n in outside if not is_door(module, DOORS.get(n.split(".")[0], set()))}


def is_door(module: str, doors: set[str]) -> bool:
    return module in doors or module.split("/")[0] in doors


def in_a_circle(room: str) -> list[str]:
    """Modules of a room that load each other in a circle, so that no order holds them.

    What a function imports when it is called counts, too; what is imported for types does not.
    """
    own = {}
    for module in (module for module in MODULES if module.split("/")[0] == room):
        names = imported(module, at_run_time=True) - LATER.get(module, set())
        own[module] = {name.removeprefix("blocksearch.").replace(".", "/") for name in names}
    left = set(own)
    while free := {module for module in left if not own[module] & (left - {module})}:
        left -= free
    return sorted(left)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_and_use_the_doors(module):
    assert not upward(module, imported(module) - LATER.get(module, set()))
    assert not sideways(module, imported(module, at_run_time=True))
    assert not at_the_wrong_door(module, imported(module))


def test_the_rules_above_can_fail():
    assert upward("arch/cost", {"blocksearch.training.build"})
    assert sideways("search/loop", {"blocksearch.ablation.stats"})
    assert at_the_wrong_door("arch/cost", {"torch.nn"})
    assert at_the_wrong_door("arch/cost", {"requests"})
    assert names_in("from blocksearch import cli", "arch/cost") == {"blocksearch.cli"}
    assert names_in("from ..cli import options", "arch/cost") == {"blocksearch.cli.options"}
    assert upward("arch/cost", {"blocksearch.cli"})
    hidden = 'importlib.import_module("blocksearch.cli.run")'
    assert names_in(hidden, "space/grammar") == {"blocksearch.cli.run"}
    assert all(names <= imported(module) for module, names in LATER.items())


@pytest.mark.parametrize("room", sorted(LEVELS))
def test_a_room_has_an_order(room):
    assert not in_a_circle(room)


LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 350, 50, 8
FACE = {"cli", "api"}  # their parameters are the fields of the configuration classes


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_can_be_seen_whole(module):
    source = (PACKAGE / f"{module}.py").read_text()
    assert len(source.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name
            if module.split("/")[0] in FACE:
                continue
            own = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert len(set(own) - {"self", "cls"}) <= MOST_PARAMETERS, node.name


def test_a_class_name_means_one_thing():
    homes = defaultdict(set)
    for module in MODULES:
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].add(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


# Records that read best in order: a shape, a layer after its input, an augmentation's strength, and
# the rows of printed tables.
IN_ORDER = (
    "arch/shape",
    "arch/layers",
    "arch/pools",
    "arch/tree",
    "training/transforms",
    "paper/claims",
)
IN_ORDER += ("paper/tables", "training/outcome", "training/schedules", "arch/zoo")


def by_position(module: str) -> list[str]:
    """Data classes whose third field, or a later one, can be given by its place."""
    return [
        node.name
        for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text()))
        if isinstance(node, ast.ClassDef)
        for decorator in map(ast.unparse, node.decorator_list)
        if "dataclass" in decorator and "kw_only=True" not in decorator
        if "_" not in (names := [ast.unparse(x.target) for x in node.body if _field(x)])[:3]
        and len(names) > 2
    ]


def _field(node: ast.stmt) -> TypeGuard[ast.AnnAssign]:
    return isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)


def test_fields_are_named():
    assert {m: by_position(m) for m in MODULES if m not in IN_ORDER and by_position(m)} == {}


RUN = 10  # lines that stand nowhere twice, identical or with other names
ROOM = 0.2  # of all lines that one room has at most
_OTHER = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


def shapes(source: str) -> list[tuple[int, str]]:
    """Lines of logic by number, with names, numbers and texts forgotten.

    Docstrings and imports are none, and neither are declarations (a class, its fields with their
    types) nor data (items of a list, arguments by name), which are alike by their kind.
    """
    left_out = set()
    for node in ast.walk(ast.parse(source)):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if text or isinstance(node, ast.Import | ast.ImportFrom | ast.AnnAssign):
            left_out |= set(range(node.lineno, node.end_lineno + 1))
        if isinstance(node, ast.ClassDef):
            left_out |= {node.lineno, *(own.lineno for own in node.decorator_list)}
    found = defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _OTHER or token.start[0] in left_out:
            continue
        kept = keyword.iskeyword(token.string) or token.type == tokenize.OP
        found[token.start[0]].append(token.string if kept else "x")
    lines = {number: "".join(words) for number, words in found.items()}
    return [
        (n, line) for n, line in lines.items() if not re.fullmatch(r"(x=)?[x,.*\[\](){}:]*", line)
    ]


def runs_twice(sources: dict[str, str]) -> list[list[tuple[str, int]]]:
    """Runs of lines that stand in more than one place."""
    places = defaultdict(list)
    for name, source in sources.items():
        own = shapes(source)
        for at in range(len(own) - RUN + 1):
            run = tuple(line for _, line in own[at : at + RUN])
            if len(places[run]) == 0 or places[run][-1] != (name, own[at - 1][0]):
                places[run].append((name, own[at][0]))
    return [own for own in places.values() if len(own) > 1]


def sources() -> dict[str, str]:
    return {module: (PACKAGE / f"{module}.py").read_text() for module in MODULES}


def test_nothing_of_ten_lines_is_written_twice():
    assert runs_twice(sources()) == []


def test_the_test_of_repetition_can_fail():
    body = "".join(f"    a{n} = f{n}(b{n}, {n}) + 'x'\n    del a{n}\n" for n in range(5))
    renamed = re.sub(r"[abf](\d)", r"c\1", body)
    assert runs_twice({"one": f"def f():\n{body}", "two": f"def g():\n{renamed}"})
    assert not runs_twice({"one": f"def f():\n{body}", "two": "def g():\n    return 1\n"})


def test_the_settings_say_what_is_so_of_dependencies_and_rules():
    text = (PACKAGE.parent / "pyproject.toml").read_text()
    for name, said in re.findall(r'^    "([\w-]+).*",  # (.*)$', text, re.MULTILINE):
        if doors := DOORS.get({"pillow": "PIL"}.get(name, name)):
            named = set(re.findall(r"[\w/]+(?=\.py\b)|\w+(?=/(?!\w))", said))
            assert {each for each in doors if not is_door(each, named)} == set(), name
            assert named <= doors | {each.split("/")[0] for each in doors}, name
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    said = text.partition("[tool.ruff.lint]")[2].partition("select")[0]
    assert set(re.findall(r"\b[A-Z]+[0-9]*\b", said)) == set(lint["select"])


def test_no_room_is_more_than_a_fifth_of_the_house():
    lines = Counter()
    for module, source in sources().items():
        lines[module.split("/")[0]] += source.count("\n")
    assert max(lines.values()) <= ROOM * lines.total(), lines.most_common(3)


NO_VERB = {"What", "Who", "How", "Which", "Where", "Why", "When", "Whether", "A", "An", "The"}


def without_a_verb(source: str) -> list[str]:
    """Docstrings of a module and of its public functions whose first word can be no verb.

    A property may name the thing that it is.
    """
    tree = ast.parse(source)
    public = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        if not any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    texts = {getattr(node, "name", "module"): ast.get_docstring(node) for node in [tree, *public]}
    first = {name: text.split()[0].strip(",.:;") for name, text in texts.items() if text}
    return [name for name, word in first.items() if word in NO_VERB or not word.istitle()]


@pytest.mark.parametrize("module", MODULES)
def test_a_docstring_begins_with_a_verb(module):
    assert without_a_verb((PACKAGE / f"{module}.py").read_text()) == []


def test_the_test_of_verbs_can_fail():
    assert without_a_verb('"""What beats what."""') == ["module"]
    assert without_a_verb('def f():\n    """The sum."""\n') == ["f"]
    assert without_a_verb('def f():\n    """`f` of x."""\n') == ["f"]
    assert without_a_verb('@property\ndef f():\n    """The sum."""\n') == []


HEAVY = """import sys
heavy = {'torch', 'optuna', 'scipy', 'sqlalchemy'} & set(sys.modules)
assert not heavy, heavy"""


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


@pytest.mark.parametrize(
    "code",
    [
        "from blocksearch import Grammar",
        "import sys; sys.argv[1:] = ['--help']; from blocksearch.cli import main\ntry: "
        "main()\nexcept SystemExit: pass",
    ],
    ids=["Grammar", "--help"],
)
def test_light_commands_stay_light(code):
    run("-c", f"{code}\n{HEAVY}")


def test_the_lightness_test_can_fail():
    with pytest.raises(subprocess.CalledProcessError):
        run("-c", f"import torch\n{HEAVY}")
