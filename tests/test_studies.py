"""Every figure of `studies/README.md` is what the shipped databases hold, row by row."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind

import blocksearch
import blocksearch as bs
from blocksearch.ablation.stats import compare_pairs
from blocksearch.arch.cost import cost
from blocksearch.arch.notation import parse, todays
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data import get, split_id
from blocksearch.paper.reproduce import (
    LARGE,
    compared,
    measured,
    networks_of,
    order_of,
    rank_correlation,
)
from blocksearch.paper.section3 import claims_shown, recorded
from blocksearch.paper.tables import TABLES, flops_cells, printed
from blocksearch.report.comparisons import interval_text, verdict_of
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.metrics import mean_interval
from blocksearch.search.evaluation import SEEDS

STUDIES = Path(__file__).parent.parent / "studies"
TEXT = (STUDIES / "README.md").read_text()
WIDTHS = {"cifar10": (16, 32, 64)}  # of the tables that were not run at the paper's widths
EPOCHS = {"cifar10": 6, "gtsrb": 30, "svhn": 20}
SHORTCUTS = ("add", "project", "concatenate")
CLAIMED = ("helps", "hurts", "within", "lower")
Cells = list[str]


def table(*words: str) -> dict[str, Cells]:
    """Return the cells of the table whose head has these words, by the first one of each row."""
    lines = TEXT.splitlines()
    heads = [line.startswith("|") and all(word in line for word in words) for line in lines]
    assert sum(heads) == 1, words
    start = heads.index(True)
    end = next(at for at in range(start, len(lines)) if not lines[at].startswith("|"))
    rows = [lines[at].replace("−", "-").strip("|").split("|") for at in range(start + 2, end)]
    assert rows
    return {first.strip(): [cell.strip() for cell in rest] for first, *rest in rows}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Return the runs and reports of a shipped database, read from a copy, once."""
    folder, found = tmp_path_factory.mktemp("studies"), {}

    def read(name):
        if name not in found:
            shutil.copy(STUDIES / name, folder)
            with closing(Ledger(folder / name, create=False)) as ledger:
                found[name] = list(ledger.runs()), ledger.reports()
        return found[name]

    return read


def judged_by_test(shipped: Callable[[str], Any], number: int) -> tuple[str, list[Any], list[Any]]:
    """Return a table's data set, its networks, and the runs that are judged on test images."""
    name = TABLES[number][0]
    task = replace(TASKS[name], widths=WIDTHS.get(name, TASKS[name].widths))
    runs = [run for run in shipped(f"{name}.db")[0] if run.key.protocol == "test"]
    runs = [run for run in runs if run.key.seed in range(5)]  # the test of a search has others
    return name, networks_of(number, task), [run for run in runs if run.epoch_to == EPOCHS[name]]


@pytest.mark.parametrize("number", [2, 3, 4, 6, 7])
def test_a_table_of_the_paper(number, shipped):
    _, found, runs = judged_by_test(shipped, number)
    base, wanted, means = cost(found[0][2].layers).flops, {}, []
    for name, row, network in found:
        own = [run.accuracy for run in runs if run.key.network == network.digest]
        assert len(own) == 5
        flops, mean, (low, high) = cost(network.layers).flops, sum(own) / 5, mean_interval(own)
        if name != "effnet_large_published":
            means.append((mean, row.accuracy))
        wanted[LARGE.get(name, row.label)] = [
            *(f"{row.accuracy:.2f}", f"{mean:.2f}", f"{low:.2f} – {high:.2f}"),
            *(printed(flops, row.flops), f"{row.factor:.2f}", f"{flops / base:.2f}"),
        ]
    rows = table(f"`blocksearch reproduce table{number}")
    assert rows == {label: cells for label, cells in wanted.items() if label in rows}
    assert set(wanted) - set(rows) <= {"Baseline"}  # which is in the first table
    own, p = rank_correlation(*zip(*means, strict=True))
    by_flops, _ = order_of(measured(found, runs, range(5)), by_flops=True)
    said = f"{own:+.2f} (p = {p:.3f}; FLOPs alone {by_flops:+.2f}) for Table {number}"
    assert said in " ".join(TEXT.split())


@pytest.mark.parametrize("number", [2, 3, 4, 6, 7])
def test_what_the_paper_says_of_networks(number, shipped):
    name, found, runs = judged_by_test(shipped, number)
    judged = measured(found, runs, range(5))
    labels = {row.name: row.label for row in judged}
    rows = table(f"| {name}, ")
    for result in compared(number, judged, range(5)):
        variant, own, (claim, *_) = result.variant, result.comparison, result.statements
        assert rows[f"{labels[variant.value]} against {labels[variant.reference_value]}"] == [
            f"{own.difference:+.2f}",
            interval_text(own.interval),
            claim.text,
            claim.agreement,
        ]
    assert len(rows) == {"gtsrb": 9, "cifar10": 5, "svhn": 9}[name]


def shortcuts(
    runs: Sequence[Any], name: str, *, epochs: int, widths: Any = None, split: int = 0, seeds: int
) -> tuple[dict[str, Any], dict[str, dict[int, float]], dict[str, Any]]:
    """Compare every shortcut with none in effnet, over the first seeds of a split; with the
    accuracies and the networks.
    """
    task = TASKS[name] if widths is None else replace(TASKS[name], widths=widths)
    effnet = named_network("effnet", task, dataset=name)
    networks = {"none": effnet} | {each: effnet.with_factor("residual", each) for each in SHORTCUTS}
    found: dict[str, dict[int, float]] = {}
    for value, network in networks.items():
        wanted = (network.digest, split_id(split), epochs)
        judged = [
            run for run in runs if (run.key.network, run.key.protocol, run.epoch_to) == wanted
        ]
        found[value] = {run.key.seed: run.accuracy for run in judged if run.key.seed < seeds}
        assert len(found[value]) == seeds
    pairs = {each: (found["none"], found[each]) for each in SHORTCUTS}
    return compare_pairs(pairs), found, networks


def test_what_shortcuts_do_asked_alone(shipped):
    gtsrb, svhn, cifar10 = (shipped(f"{name}.db")[0] for name in ("gtsrb", "svhn", "cifar10"))
    columns = [
        shortcuts(gtsrb, "gtsrb", epochs=30, seeds=8)[0],
        shortcuts(gtsrb, "gtsrb", epochs=30, split=1, seeds=8)[0],
        shortcuts(svhn, "svhn", epochs=20, seeds=8)[0],
        shortcuts(cifar10, "cifar10", widths=(32, 64, 128), epochs=6, seeds=5)[0],
    ]
    wanted = {
        value: [
            f"{own.difference:+.2f} {interval_text(own.interval)}, {own.verdict}"
            for own in (column[value] for column in columns)
        ]
        for value in SHORTCUTS
    }
    assert table("GTSRB, second split") == wanted
    flips = [columns[3][value].p_sign_flip for value in SHORTCUTS]
    assert flips == [0.125, 0.0625, 0.0625]
    assert "p is 0.062 for project and concatenate" in " ".join(TEXT.split())
    assert "count twice, which changes no verdict" in " ".join(TEXT.split())
    assert all(2 * each.p_value < 0.05 for each in columns[0].values())
    assert 1.5 < max(abs(end) for each in columns[2].values() for end in each.interval) < 1.6
    assert "exclude that one helps or hurts by more than 1.6 points" in " ".join(TEXT.split())
    picture = (STUDIES / "gtsrb-residual.svg").read_text()
    for effect in columns[0].values():
        assert re.search(rf"{re.escape(f'{effect.difference:+.2f}')}\b", picture)


def test_what_shortcuts_do_at_the_papers_widths(shipped):
    effects, accuracies, networks = shortcuts(
        shipped("cifar10.db")[0], "cifar10", epochs=15, seeds=5
    )
    rows = table("`blocksearch ablate --factor residual --dataset cifar10 --epochs 15`")
    assert {name.removeprefix("residual "): cells[:2] for name, cells in rows.items()} == {
        value: ["5", f"{np.mean(list(own.values())):.2f}"] for value, own in accuracies.items()
    }
    base = cost(networks["none"].layers).flops
    for value, own in effects.items():
        agreement = "agrees" if own.verdict == "hurts" else "undecided"
        assert rows[f"residual {value}"][2:] == [
            f"{own.difference:+.2f}",
            interval_text(own.interval),
            f"{own.p_value:.3f}",
            f"{cost(networks[value].layers).flops / base - 1:+.0%}",
            str(own.verdict),
            f"3: hurts, {agreement}",
        ]


@pytest.fixture(scope="module")
def section3(shipped):
    """Return what the databases say of Section 3, by data set."""
    return {name: recorded(shipped(f"{name}.db")[0], name) for name in ("gtsrb", "svhn", "cifar10")}


def test_what_the_data_sets_say_together(section3):
    titles = [found.title for found in section3.values()]
    rows = [
        [
            record["section"],
            f"{record['claim']}, {record['given']}".removesuffix(", "),
            record["the paper"],
            *(record[name].replace("−", "-") for name in section3),
        ]
        for record in claims_shown(section3)
    ]
    lines = TEXT.replace("−", "-").splitlines()
    start = lines.index(f"| section | claim | the paper | {' | '.join(titles)} |") + 2
    assert lines[start : start + len(rows) + 1] == [f"| {' | '.join(row)} |" for row in rows] + [""]
    apart = [
        row[1]
        for row in rows
        if any(" helps" in cell for cell in row[3:]) and any(" hurts" in cell for cell in row[3:])
    ]
    assert apart == ["residual concatenate against none"]
    said = " ".join(TEXT.split())
    assert "In this table, verdicts contradict each other once: a concatenated" in said
    assert sum(all(", agrees" in cell for cell in row[3:]) for row in rows) == 8
    assert "Eight claims agree on all three" in said
    here, shown, there = (3 + list(section3).index(name) for name in ("gtsrb", "svhn", "cifar10"))
    only = [
        row
        for row in rows
        if undecided(row[shown]) and not any(map(undecided, (row[here], row[there])))
    ]
    only = [row for row in only if "not run" not in row]
    assert len(only) == 7
    assert "Seven rows are decided on GTSRB and CIFAR-10 and undecided on SVHN" in said
    for row in only:
        assert abs(points(row[shown])) < min(abs(points(row[here])), abs(points(row[there])))


def undecided(cell: str) -> bool:
    return " undecided" in cell


def points(cell: str) -> float:
    return float(cell.split()[0])


def cells_of(result: Any) -> tuple[str, Cells]:
    """Write a result of Section 3 as the document does."""
    variant, own = result.variant, result.comparison
    label = f"{variant.factor} {variant.value}" + (f", {variant.given}" if variant.given else "")
    return label, [
        str(own.n),
        f"{own.difference:+.2f}",
        interval_text(own.interval),
        f"{result.cost.flops / result.reference_cost.flops - 1:+.0%}" if result.cost else "",
        verdict_of(result),
        "; ".join(str(each).removeprefix("Section ") for each in result.statements),
    ]


@pytest.mark.parametrize("name", ["gtsrb", "svhn", "cifar10"])
def test_section_3(name, section3):
    """There is a row for each comparison that the shipped runs make, and no other."""
    wanted = [cells_of(each) for each in section3[name].results if each.comparison is not None]
    rows = {label.replace("−", "-"): cells for label, cells in wanted}
    assert rows == table(f"`blocksearch reproduce section3 --dataset {name}", "seeds")


@pytest.mark.parametrize("name", ["gtsrb", "svhn"])
def test_section_3_prints_without_images(name, section3, tmp_path, monkeypatch):
    """The seeds that are not named are those of the shipped runs."""
    monkeypatch.chdir(tmp_path)
    rows = bs.reproduce("section3", dataset=name).records()
    found = [row["difference"] for row in rows if row["difference"] is not None]
    own = [each.comparison for each in section3[name].results if each.comparison is not None]
    assert found == pytest.approx([each.difference for each in own])
    seeds = [len(row["seeds"]) for row in rows if row["difference"] is not None]
    assert seeds == [each.n for each in own]


def label_of_row(own: Any) -> str:
    return " ".join(filter(None, (own.variant.given, own.variant.factor, own.variant.value)))


@pytest.mark.parametrize(("name", "many"), [("gtsrb", "seven"), ("svhn", "three")])
def test_what_two_questions_leave_undecided(section3, name, many):
    """The shortcuts were asked about again, so that a p below α / 2 decides."""
    decided = [
        own for own in section3[name].results if own.comparison and own.comparison.verdict.differs
    ]
    undone = [label_of_row(own) for own in decided if own.comparison.p_value >= 0.025]
    assert len(undone) == {"seven": 7, "three": 3}[many]
    said = f"has {many} verdicts undecided: {', '.join(undone)}."
    assert said in " ".join(TEXT.split())


def test_how_many_claims_two_questions_leave(section3):
    kept = {
        name: {
            label_of_row(own)
            for own in found.results
            if own.comparison and (name == "cifar10" or own.comparison.p_value < 0.025)
            if {"agrees"} == {str(e.agreement) for e in own.statements if e.text in CLAIMED}
        }
        for name, found in section3.items()
    }
    assert len(kept["svhn"]) == 8
    assert "Then 8 claims agree." in " ".join(TEXT.split())
    shares = [{alike(own, found.widths) for own in kept[name]} for name, found in section3.items()]
    assert len(set.intersection(*shares)) == 6
    assert "six of the eight are left" in " ".join(TEXT.split())


def alike(label: str, widths: Sequence[int]) -> str:
    """Name widths and their halves alike for all data sets."""
    halves = ",".join(str(width // 2) for width in widths)
    whole = label.replace(f"widths={','.join(map(str, widths))} ", "all ")
    return whole.replace(f"widths={halves} ", "half ")


@pytest.mark.parametrize(("name", "held"), [("gtsrb", (22, 26)), ("svhn", (11, 12))])
def test_which_verdicts_hold_on_other_images(tmp_path, monkeypatch, name, held):
    monkeypatch.chdir(tmp_path)
    rows = [row for row in bs.reproduce("section3", dataset=name).records() if row["other_images"]]
    unshown = [
        " ".join(filter(None, (row["given"], row["factor"], row["value"])))
        for row in rows
        if row["other_images"] == "not shown"
    ]
    assert (len(rows) - len(unshown), len(rows)) == held
    said = " ".join(TEXT.split())
    assert f"{held[0]} of the {held[1]} verdicts hold. Not shown there are" in said
    assert f"Not shown there are {', '.join(unshown)}." in said


@pytest.mark.parametrize(
    ("name", "words"),
    [("gtsrb", r"agree.*\*\*(Two) disagree"), ("svhn", r"agree, (none) disagrees")],
)
def test_how_many_claims_agree(section3, name, words):
    """A row whose claims of accuracy agree counts once; what is claimed of FLOPs does not count."""
    agreements = [
        {str(each.agreement) for each in result.statements if each.text in CLAIMED}
        for result in section3[name].results
    ]
    counts = [sum(word in own for own in agreements) for word in ("agrees", "disagrees")]
    (text,) = re.findall(rf"## {name.upper()}: Section 3\n(.*?)\n## ", TEXT, re.S)
    said = re.search(rf"\*\*(\d+) claims of the paper about accuracy {words}", text, re.S)
    assert said is not None
    assert said.groups() == (str(counts[0]), {0: "none", 2: "Two"}[counts[1]])


def test_the_front_of_the_search(shipped):
    runs, reports = shipped("gtsrb-search.db")
    (content,) = [json.loads(report["content"]) for report in reports if report["kind"] == "final"]
    by_flops = {row["flops"]: row for row in content["rows"]}
    base = cost(named_network("baseline", TASKS["gtsrb"]).layers).flops
    found = table("test, % (10 epochs, 5 seeds)")
    assert (len(found), len(by_flops)) == (5, 19)
    for text, (flops, factor, accuracy, interval) in found.items():
        row = by_flops[int(flops.replace(",", ""))]
        own = [
            run.accuracy
            for run in runs
            if (run.key.protocol, run.key.network) == ("test", parse(row["text"]).digest)
        ]
        assert sorted(own) == sorted(row["accuracies"])
        low, high = mean_interval(own)
        assert (accuracy, interval) == (f"{sum(own) / 5:.2f}", f"{low:.2f} – {high:.2f}")
        assert factor == f"{row['flops'] / base:.2f}"
        network = todays(row["text"])
        assert all(part in network for part in text.replace("`", "").split() if "=" in part)
        assert "kernel=1x3+3x1 depth_multiplier=2" in network


@pytest.fixture(scope="module")
def svhns_front():
    return [row for row in bs.front(STUDIES / "svhn.db").records() if row["front"]]


def on_svhns_test(runs: Sequence[Any], digest: str, seeds: Collection[int]) -> list[float]:
    """Return the five test accuracies of a network after 20 epochs on all crops."""
    own = [run for run in runs if (run.key.protocol, run.key.network) == ("test", digest)]
    own = [run for run in own if run.key.seed in seeds]
    assert (len(own), {run.epoch_to for run in own}) == (5, {EPOCHS["svhn"]})
    assert len({(run.key.recipe, run.key.data) for run in own}) == 1
    return [run.accuracy for run in own]


def test_a_network_of_a_stored_study_is_had_as_a_module(monkeypatch):
    monkeypatch.chdir(STUDIES.parent)
    made: dict[str, Any] = {}
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(program, made)
    best, front = made["best"], bs.front("studies/gtsrb-search.db").found.front
    within = [each for each in front if each.costs["flops"] <= 400e3]
    assert 0 < len(within) < len(front)
    assert best.mean == max(each.mean for each in within)
    counted = sum(each.numel() for each in made["model"].parameters())
    assert counted == best.network.cost.params == best.costs["params"]


def test_the_front_of_svhns_search(svhns_front, shipped):
    rows = svhns_front
    runs, _ = shipped("svhn.db")
    tested = {row["text"]: row["accuracies"] for row in bs.test(STUDIES / "svhn.db").records()}
    assert set(tested) == {row["network"] for row in rows}
    base = named_network("baseline", TASKS["svhn"]).cost.flops
    found = table("blocksearch pareto studies/svhn.db")
    assert len(found) == len(rows)
    for (text, cells), row in zip(found.items(), rows, strict=True):
        named = "" if row["origin"] == "evolution" else f" ({row['origin']})"
        own = on_svhns_test(runs, parse(row["network"]).digest, SEEDS)
        assert sorted(own) == sorted(tested[row["network"]])
        low, high = mean_interval(own)
        assert text == f"`{row['network'].split('classes=10 ')[1]}`{named}"
        assert cells == [
            f"{row['flops']:,}",
            f"{row['flops'] / base:.2f}",
            str(row["seeds"]),
            f"{row['measured']:.2f}",
            f"{row['expected']:.2f}",
            f"{row['expected_low']:.2f} – {row['expected_high']:.2f}",
            f"{sum(own) / 5:.2f}",
            f"{low:.2f} – {high:.2f}",
        ]
    assert {row["origin"] for row in rows} == {"evolution", "mob_imp"}
    assert {row["seeds"] for row in rows} == {5}
    many = sum("residual=concatenate" in row["network"] for row in rows)
    assert f"{many} of the {len(rows)} concatenate" in TEXT
    means = [sum(tested[row["network"]]) for row in rows]
    assert sum(before > after for before, after in pairwise(means)) == 3
    text = TEXT[TEXT.index("## A search on SVHN") :]
    assert "rises along the front but for three pairs of neighbours" in text


def test_svhns_front_beside_the_networks_of_the_paper(svhns_front, shipped):
    """Each network's row has the front's largest that is no larger; Welch's intervals by scipy."""
    runs, _ = shipped("svhn.db")
    found = table("the paper's networks beside the front")
    named = {
        LARGE.get(name, row.label): network
        for number in (3, 6)
        for name, row, network in networks_of(number, TASKS["svhn"])
        if name != "mob_imp"  # which is on the front
    }
    assert list(found) == list(named)
    better, keys = [], set()
    for label, network in named.items():
        theirs = on_svhns_test(runs, network.digest, range(5))
        flops = network.cost.flops
        nearest = max(
            (row for row in svhns_front if row["flops"] <= flops), key=itemgetter("flops")
        )
        digest = parse(nearest["network"]).digest
        ours = on_svhns_test(runs, digest, SEEDS)
        keys |= {
            (run.key.recipe, run.key.data)
            for run in runs
            if run.key.protocol == "test" and run.key.network in (digest, network.digest)
        }
        welch = ttest_ind(ours, theirs, equal_var=False)
        low, high = welch.confidence_interval(1 - 0.05 / len(named))
        share = nearest["flops"] / flops
        assert found[label] == [
            f"{flops:,}",
            f"{sum(theirs) / 5:.2f}",
            f"{nearest['flops']:,}, {share:.2f}",
            f"{sum(ours) / 5:.2f}",
            f"{(sum(ours) - sum(theirs)) / 5:+.2f}",
            f"[{low:+.2f}, {high:+.2f}]",
        ]
        assert high > 0
        better += [share] if low > 0 else []
    assert len(keys) == 1
    most, least = (f"{100 * (1 - share):.0f}" for share in (max(better), min(better)))
    said = f"better than seven of the twelve, with {most} to {least} % fewer FLOPs"
    assert (len(better), len(named)) == (7, 12)
    assert said in " ".join(TEXT.split())


def test_the_schedule_of_svhn_is_the_shortest_whose_last_fifth_gains_little(shipped):
    runs = [run for run in shipped("svhn.db")[0] if run.key.protocol == split_id(0)]
    gains = {}
    for name in ("effnet", "baseline"):
        digest = named_network(name, TASKS["svhn"], dataset="svhn").digest
        for epochs in (10, 20):
            own = [
                run.accuracies
                for run in runs
                if (run.key.network, run.epoch_to) == (digest, epochs) and run.key.seed < 5
            ]
            assert len(own) == 5
            mean = np.mean(own, axis=0)
            gains.setdefault(epochs, []).append(mean[-1] - mean[-1 - epochs // 5])
    assert [epochs for epochs, own in gains.items() if max(own) < 0.3] == [20]
    assert get("svhn").epochs == 20
    (ten, twenty), said = (gains[10], gains[20]), " ".join(TEXT.replace("−", "-").split())
    assert f"It gained {ten[0]:.2f} and {ten[1]:.2f} points at 10 epochs and" in said
    error = np.std([each[-1] - each[-5] for each in own], ddof=1) / 5**0.5
    assert f"{twenty[0]:.2f} and {twenty[1]:.2f} at 20, mean of five seeds" in said
    assert f"the last has a standard error of {error:.2f}." in said


def test_answers_of_svhn_say_what_its_images_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(Ledger(STUDIES / "svhn.db", read_only=True)) as ledger:
        images = {each.split: each.origin for each in ledger.all_images()}
    learnt, judged = images[split_id(0)], images["test"]
    assert learnt != judged
    database = STUDIES / "svhn.db"
    for answer in (bs.reproduce("section3", dataset="svhn"), bs.front(database)):
        assert f"svhn ({learnt})" in answer.report.title
    for answer in (bs.reproduce("table3"), bs.reproduce("table6"), bs.test(database)):
        assert f"svhn ({learnt}; tested on {judged})" in answer.report.title
    several = bs.reproduce("section3", dataset="gtsrb,svhn").report
    (said,) = [note for note in several.notes if note.startswith("svhn: ")]
    assert said.endswith(f"({learnt}; tested on {judged})")


def test_what_is_said_of_the_images_and_searches_of_svhn(section3, svhns_front):
    """Sentences of the document, made again from the database."""
    with closing(Ledger(STUDIES / "svhn.db", read_only=True)) as ledger:
        images = {each.split: each for each in ledger.all_images()}
    learnt, judged = images["test"].available, images["test"].evaluation
    held = images[split_id(0)].evaluation
    published = re.search(r"of which ([\d,]+) are", images[split_id(0)].origin)[1]
    found = bs.front(STUDIES / "svhn.db").found
    named = sum(entry.named for entry in found.entries)
    every = [each.comparison.interval for each in section3["svhn"].results if each.comparison]
    wide = sum(high - low > 2 for low, high in every)
    (concatenate,) = [
        each.comparison.interval
        for each in section3["svhn"].results
        if each.variant.value == "concatenate"
    ]
    said = " ".join(TEXT.split())
    for sentence in (
        f"{published} of its {learnt:,} training crops are published test crops",
        f"all {learnt:,} training crops, judged once on the first {judged:,} crops",
        f"{published} of the training crops are from the published test set",
        f"accuracies on the {held:,} validation images",
        f"evaluated it on the {judged:,} test images",
        f"{len(found.entries) - named} networks of the space `paper` and six named ones",
        f"{wide} of the {len(every)} intervals are more than two points wide",
        f"between {-concatenate[0]:.2f} points worse and {concatenate[1]:.2f} better",
    ):
        assert sentence in said
    assert named == 6


def test_what_is_said_of_gtsrb(section3, shipped):
    """Sentences of the document, made again from the database."""
    with closing(Ledger(STUDIES / "gtsrb.db", read_only=True)) as ledger:
        images = {each.split: each for each in ledger.all_images()}
    baseline = named_network("baseline", TASKS["gtsrb"]).digest
    own = [
        run.accuracies
        for run in shipped("gtsrb.db")[0]
        if (run.key.protocol, run.key.network, run.epoch_to) == ("test", baseline, 30)
    ]
    assert len(own) == 5
    mean = np.mean(own, axis=0)
    (project,) = [each for each in section3["gtsrb"].results if each.variant.value == "project"]
    more = project.cost.flops / project.reference_cost.flops - 1
    _, reports = shipped("gtsrb-search.db")
    (rows,) = [json.loads(own["content"])["rows"] for own in reports if own["kind"] == "final"]
    means = [np.mean(row["accuracies"]) for row in sorted(rows, key=itemgetter("flops"))]
    assert sum(before > after for before, after in pairwise(means)) == 3
    said = " ".join(TEXT[: TEXT.index("## A search on SVHN")].split())
    for sentence in (
        f"judged on the {images['test'].evaluation:,} test images",
        f"still gains {mean[-1] - mean[-7]:.1f} points in its last fifth",
        f"A projected shortcut costs {100 * more:.0f} % more FLOPs",
        f"trained the {len(rows)} networks of the front",
        "rises along the front but for three pairs of neighbours",
    ):
        assert sentence in said


def test_what_recipes_give(tmp_path):
    """The commands of the document answer from the shipped runs, and train nothing."""
    shutil.copy(STUDIES / "recipes.db", tmp_path)
    commands = re.findall(r"^    blocksearch ablate (.* --factor recipe .*)$", TEXT, re.MULTILINE)
    wanted = {}
    for words in map(shlex.split, commands):
        given = {
            name.strip("-").replace("-", "_"): value
            for name, value in zip(words[::2], words[1::2], strict=True)
        }
        numbers = {name: int(given.pop(name)) for name in ("max_images", "epochs", "seeds")}
        reference, asked = given["values"].split(",")
        name = f"{given['dataset']}: {asked}, against {reference}"
        given |= {"db": str(tmp_path / "recipes.db"), "values": [reference, asked]}
        (result,) = [
            each
            for each in blocksearch.ablate(given.pop("block"), **given, **numbers).found.results
            if each.variant.value == asked
        ]
        own = result.comparison
        wanted[name] = [
            str(own.n),
            f"{own.difference:+.2f}",
            interval_text(own.interval),
            verdict_of(result),
        ]
    assert len(wanted) == 2
    assert table("| recipe, against |") == wanted


def test_the_flops_that_do_not_match():
    """The document counts cells that the paper prints more than once, once."""
    distinct = {
        (each.dataset, each.network, each.published): each.matches
        for each in flops_cells()
        if each.matches is not None
    }
    matching = sum(distinct.values())
    said = f"Of the {len(distinct)} distinct FLOPs of Tables 2-7, {matching} match"
    assert said in " ".join(TEXT.split())
    changes = (STUDIES.parent / "CHANGELOG.md").read_text()
    assert f"{matching} of its {len(distinct)} distinct FLOPs match" in " ".join(changes.split())


def test_the_first_answer_of_the_readme(tmp_path):
    """Its table is printed again from the runs that it was printed from."""
    readme = (STUDIES.parent / "README.md").read_text()
    command, first = "    blocksearch ablate --block mobilenet", "    factor      value"
    asked = next(line for line in readme.splitlines() if line.startswith(command))
    words = shlex.split(asked)[2:]
    given = {
        name.strip("-").replace("-", "_"): value
        for name, value in zip(words[::2], words[1::2], strict=True)
    }
    shutil.copy(STUDIES / "first-answer.db", tmp_path)
    numbers = {name: int(given.pop(name)) for name in ("max_images", "epochs", "batch")}
    answer = blocksearch.ablate(
        given.pop("block"), **given, **numbers, db=tmp_path / "first-answer.db"
    )
    lines = readme[readme.index(first) :].split("\n\n")[0].splitlines()
    assert len(lines) == 5
    shown = [line.split() for line in answer.table().splitlines()]
    assert [line for line in lines if line.split() not in shown] == []
    _, variant = answer.records()
    saved = -variant["flops_difference"] / (variant["flops"] - variant["flops_difference"])
    said = f"{-variant['difference']:.0f} points of accuracy and saves {saved:.0%} of the FLOPs"
    assert said.replace("%", " %") in " ".join(readme.split())


SAMPLERS = {
    "evolution": "evolution (ours)",
    "gp": "GP",
    "tpe": "TPE",
    "nsga2": "NSGA-II",
    "random": "random",
}


@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(each, marks=pytest.mark.slow if each == "random" else pytest.mark.full)
        for each in SAMPLERS
    ],
)
def test_how_few_trainings_a_search_needs(sampler, tmp_path):
    """The table's searches, replayed; early stopping apart."""
    benchmark = [sys.executable, "-m", "tests.benchmarks.search", "studies/tiny-gtsrb.csv"]
    options = ["--samplers", sampler, "--rungs", "", "--workers", "2"]
    answer = tmp_path / "answer.json"
    subprocess.run(
        [*benchmark, *options, "--json", answer], check=True, cwd=STUDIES.parent, timeout=7200
    )
    tables = json.loads(answer.read_text())
    assert "294 networks" in tables["table"]
    assert "(294 with the reference networks)" in TEXT
    ((title, rows),) = [item for item in tables.items() if item[0].startswith("Trainings to")]
    threshold, oracle = re.search(r"to ([\d.]+)0 %.* need (\d+);", title).groups()
    assert f"({threshold} % of the table's)" in TEXT
    lines = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if "oracle |" in line]
    head, cells = lines[0], TEXT[TEXT.index("oracle |") :].splitlines()[2].strip("| ").split(" | ")
    written = dict(zip(head, cells, strict=True))
    assert written["oracle"] == oracle
    found = {row["sampler"]: row["trainings_to_threshold"] for row in rows}
    assert found[sampler] == written[SAMPLERS[sampler]]


@pytest.mark.full
@pytest.mark.parametrize(
    ("options", "sentences"),
    [
        (
            (),
            (
                "It takes {share:.2f} of the epochs of searches that train every network whole",
                "lacks {lost:.2f} points (median of 20 searches, quartiles {quartiles})",
                "two whole searches with different seeds lack {apart:.2f} of each other",
            ),
        ),
        (
            ("--first", "40", "--seeds", "40"),
            ("lacks {lost:.2f} ({quartiles}) for {share:.2f} of the epochs, against {apart:.2f}.",),
        ),
    ],
    ids=["20 searches", "40 others"],
)
def test_what_early_stopping_saves_and_loses(tmp_path, options, sentences):
    """The replays of the table's searches, with early stopping and without."""
    benchmark = [sys.executable, "-m", "tests.benchmarks.search", "studies/tiny-gtsrb.csv"]
    words = [*benchmark, "--samplers", "random", "--workers", "2", *options]
    answer = tmp_path / "answer.json"
    subprocess.run([*words, "--json", answer], check=True, cwd=STUDIES.parent, timeout=7200)
    tables = json.loads(answer.read_text())
    ((racing, whole),) = [rows for title, rows in tables.items() if title.startswith("Races")]
    found = {
        "share": racing["of_the_whole_one's"],
        "lost": racing["epsilon_points"],
        "quartiles": racing["quartiles"],
        "apart": whole["epsilon_points"],
    }
    for sentence in sentences:
        assert sentence.format(**found) in " ".join(TEXT.split())
