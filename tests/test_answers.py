"""Whatever the face returns is an answer, to list, print, show, draw and save."""

import inspect
import json
import pickle
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from torch import nn

import blocksearch as bs
from blocksearch.api import catalog
from blocksearch.api.answer import Answer
from blocksearch.report.figure import MOST_BARS, Kind, bar_figure, by_epoch, largest
from blocksearch.report.interactive import plotly_figure
from blocksearch.report.tables import bench_report
from blocksearch.search.importance import Effects
from blocksearch.search.results import Summary

STUDIES = Path(__file__).parent.parent / "studies"
SMALL = {"max_images": 60, "batch": 30, "device": "cpu", "executor": "serial", "epochs": 1}
SPACE = bs.Grammar(bs.TASKS["digits"], residual=["none", "add"])
NET = bs.network("effnet", task="digits", widths=(4, 8, 8))


def study(**asked):
    return bs.Study(SPACE, "s.db", dataset="digits", references="none", seeds=1, **SMALL, **asked)


def searched():
    own = study()
    own.search(trials=2)
    return own


def a_convolution():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))


def exported():
    return bs.export(NET, "net.safetensors", weights=NET.module(seed=0).state_dict())


def merged():
    for name in ("a.db", "b.db"):
        bs.train(NET, seeds=1, db=name, **SMALL)
    return bs.merge("a.db", "b.db")


def verified():
    bs.train(NET, seeds=1, db="a.db", **SMALL)
    return bs.verify("a.db", runs=1, device="cpu")


def judged():
    shutil.copy(STUDIES / "gtsrb-search.db", "s.db")
    return bs.test("s.db")


DRAWN = {
    "ablate": lambda: bs.ablate(NET, factor="residual", seeds=2, **SMALL),
    "bench": lambda: bs.bench(NET, **SMALL),
    "compare": lambda: bs.compare({"old": [90.0, 91.0, 90.5], "new": [92.0, 93.1, 92.4]}),
    "describe": lambda: bs.describe("digits"),
    "front": lambda: searched() and bs.front("s.db"),
    "gain": lambda: bs.gain(SPACE, NET, sample=2, seeds=2, **SMALL),
    "importance": lambda: searched() and bs.importance("s.db"),
    "layers": lambda: bs.layers("effnet", "gtsrb"),
    "price": lambda: bs.price("effnet residual=add"),
    "replace": lambda: bs.replace(a_convolution(), "effnet")[1],
    "reproduce": lambda: bs.reproduce("flops"),
    "survey": lambda: bs.survey("tiny"),
    "tabulate": lambda: bs.tabulate(SPACE, "t.csv", seeds=1, **SMALL),
    "test": judged,
    "train": lambda: bs.train(NET, seeds=2, **SMALL),
    "verify": verified,
    "Study.answer": lambda: searched().answer(),
    "Study.importance": lambda: searched().importance(),
    "Study.search": lambda: study().search(trials=2),
    "reproduce a table": lambda: bs.reproduce("table4"),
    "reproduce section3": lambda: bs.reproduce("section3"),
    "reproduce across": lambda: bs.reproduce("section3", dataset="gtsrb,svhn"),
}
UNDRAWN = {
    "export": (exported, "the size of a file"),
    "merge": (merged, "a count of the runs"),
    "ablate, dry": (lambda: bs.ablate(NET, factor="residual", dry_run=True, **SMALL), "a plan"),
    "train, dry": (lambda: bs.train(NET, dry_run=True, **SMALL), "a plan"),
    "gain, dry": (lambda: bs.gain(SPACE, NET, sample=2, dry_run=True, **SMALL), "a plan"),
    "tabulate, dry": (lambda: bs.tabulate(SPACE, "t.csv", dry_run=True, **SMALL), "a plan"),
    "test, dry": (lambda: searched() and bs.test("s.db", dry_run=True), "a plan"),
    "Study.search, dry": (lambda: study().search(2, dry_run=True), "a plan"),
    "reproduce, dry": (lambda: bs.reproduce("table4", dry_run=True), "a plan"),
    "catalog": (catalog.catalog, "a list of what there is"),
    "datasets": (catalog.datasets, "a list of what there is"),
    "check_dataset": (lambda: catalog.check_dataset("digits"), "a check of data sets"),
    "fetch_dataset": (lambda: catalog.fetch_dataset("digits"), "a data set's name"),
}


@pytest.fixture(autouse=True)
def _here(root, tmp_path, monkeypatch):
    monkeypatch.setenv("BLOCKSEARCH_DATA", str(root))
    monkeypatch.chdir(tmp_path)


def answers(home, prefix=""):
    """Names of what returns an answer, by what its signature says."""
    found = {name: value for name, value in home.items() if inspect.isfunction(value)}
    said = {name: str(inspect.signature(value).return_annotation) for name, value in found.items()}
    return {f"{prefix}{name}" for name, own in said.items() if "Answer" in own and name[0] != "_"}


def test_the_law_is_over_every_call_that_returns_an_answer():
    face = answers({name: getattr(bs, name) for name in bs.__all__})
    assert len(face) > 15
    assert face | answers(vars(bs.Study), "Study.") <= {*DRAWN, *UNDRAWN}
    own = {
        name
        for name in answers(vars(catalog))
        if getattr(catalog, name).__module__ == catalog.__name__
    }
    assert own <= {*DRAWN, *UNDRAWN}


def written(answer):
    """Hold what every answer does; return the texts of its picture, and its page."""
    assert isinstance(answer, Answer)
    assert all(isinstance(row, dict) for row in answer.records())
    assert answer.records()
    assert answer.table().strip()
    assert "<h3>" in answer._repr_html_()
    for ending in ("html", "svg", "json", "csv", "md"):
        answer.save(f"a.{ending}")
    json.loads(Path("a.json").read_text())
    assert pickle.loads(pickle.dumps(answer)).table() == answer.table()
    texts = ET.parse("a.svg").iter("{http://www.w3.org/2000/svg}text")
    return {"".join(text.itertext()) for text in texts}, Path("a.html").read_text()


def each(calls, *slow):
    """Name calls as cases, of which some train for long; timings take minutes."""
    long = {call: [pytest.mark.slow] for call in slow} | {"bench": [pytest.mark.full]}
    return [pytest.param(call, marks=long.get(call, [])) for call in calls]


@pytest.mark.parametrize("call", each(DRAWN, "verify"))
def test_an_answer_is_listed_printed_shown_drawn_and_saved(call):
    answer = DRAWN[call]()
    texts, page = written(answer)
    assert len(answer.figure().data) > 0
    assert not answer.report.undrawn
    first = answer.report.drawable[0]
    assert f"<figcaption>{first.title.split('<')[0]}" in page.replace("&#x27;", "'")
    for axis in (first.x, first.y):  # the picture is of the same figure
        assert {axis.label, *axis.categories} - {""} <= texts


@pytest.mark.parametrize("call", each(UNDRAWN, "check_dataset", "Study.search, dry", "test, dry"))
def test_what_cannot_be_drawn_says_what_it_is(call):
    make, says = UNDRAWN[call]
    answer = make()
    _, page = written(answer)
    assert "<figure" not in page
    with pytest.raises(bs.BlocksearchError, match=f"this answer has no figure: it is {says}") as no:
        answer.figure()
    assert "\n" not in str(no.value)


def test_a_study_answers_as_the_calls_on_its_file_do():
    own = study()
    found, stored = own.search(trials=2), bs.front("s.db")
    assert isinstance(found.found, Summary)
    said, known = found.data(), stored.data()
    assert said == known
    assert [entry.network for entry in found.found.front] == [each.network for each in own.front]
    factors = own.importance()
    assert isinstance(factors.found, Effects)
    assert factors.data() == bs.importance("s.db").data()


def test_bars_add_up_to_what_is_listed():
    flops, params = bs.layers("effnet", "gtsrb").report.figures
    net = bs.network("effnet", "gtsrb")
    for figure, total in ((flops, net.cost.flops), (params, net.cost.params)):
        assert sum(high - low for low, high in figure.series[0].spans) == total
    (images,) = bs.describe("digits").report.figures
    assert [series.name for series in images.series] == ["training", "validation", "test"]
    rows = bs.describe("digits").records()
    assert images.series[-1].x == tuple(
        row["training"] + row["validation"] + row["test"] for row in rows
    )
    (spread,) = bs.survey("tiny").report.figures
    assert sum(spread.series[0].x) == 288
    named = " ".join(spread.series[0].labels)
    assert all(name in named for name in ("effnet", "mobilenet_v2", "shufflenet"))


def test_timings_are_bars_of_images_per_second():
    ways = [{"way": "plain", "images_per_second": 50.0}, {"way": "serial", "images_per_second": 75}]
    (figure,) = bench_report("speed", ways).drawable
    assert figure.y.categories == ("plain", "serial")
    assert figure.series[0].spans == ((0, 50), (0, 75))
    assert len(plotly_figure(figure).data[0].x) == 2


def test_many_or_long_names_are_still_read():
    """The largest bars are kept, in their order; a name is cut unless it would be another's."""
    sizes = [at * 7 % 60 for at in range(60)]
    kept, some = largest(sizes, float)
    assert kept == [size for size in sizes if size >= 60 - MOST_BARS]
    assert some == f", the {MOST_BARS} largest of 60"
    for names, most in ((["a" * 60, "b" * 60], 40), (["a" * 60 + "1", "a" * 60 + "2"], 61)):
        rows = bar_figure("t", "n", names, {"n": [1, 2]}).y.categories
        assert len(set(rows)) == 2
        assert max(map(len, rows)) == most


def test_of_one_epoch_a_curve_is_seen():
    kinds = [by_epoch("t", "%", {"a": [curve]}).series[0].kind for curve in ([1.0], [1.0, 2.0])]
    assert kinds == [Kind.POINTS, Kind.LINE]
