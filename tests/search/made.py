"""Studies made without training: real files, written through `Studies`, of planted accuracies."""

from contextlib import closing
from dataclasses import replace

import numpy as np

from blocksearch import TASKS, Grammar
from blocksearch.runs.ledger import Ledger
from blocksearch.search.definition import opening
from blocksearch.search.trials import Studies, Trial, TrialKind, TrialState
from blocksearch.space.candidates import Candidates

HORIZON = 4
HOSTILE = (
    "<script>alert(1)</script>",
    "[red]no[/red]",
    "$x^2$",
    "<b>bold</b>",
    "a & b &amp; c",
    '"quoted"',
    "\x1b[31mred",
)


def grammar():
    return Grammar(
        TASKS["digits"],
        widths=[(4, 8, 16), (8, 16, 32)],
        bottleneck=["reduce(1)", "reduce(2)", "reduce(4)"],
        depth_multiplier=[1, 2],
        kernel=["3x3", "1x3+3x1"],
        pooling=["stride", "last"],
        residual=["none", "add"],
        groups=["none", "both(4)"],
    )


def definition(choices, objectives=("accuracy", "flops"), **changes):
    costs = objectives[1:]
    wishes = {
        "objectives": list(objectives),
        "sampler": "evolution",
        "seed": 0,
        "seeds": 3,
        "lag": 4,
        "start_with": [],
    }
    return {
        "title": "made up; digits: only 1,500 of 16,000 training images, 4 epochs",
        "budgets": [],
        "rungs": [HORIZON],
        "wishes": wishes,
        "frame": {
            "chance": 10.0,
            "least": [10_000.0] * len(costs),
            "largest": [1_000_000.0] * len(costs),
        },
        "baseline": 500_000,
        "choices": dict(choices),
    } | changes


def row(
    number,
    trial,
    accuracy,
    costs,
    code,
    seed=0,
    *,
    kind=TrialKind.NEW,
    origin="evolution",
    text="",
    epochs=HORIZON,
    network="",
):
    """Make a step whose run came to its end, or to `epochs`; without an accuracy it diverged."""
    return Trial(
        step=number,
        number=trial,
        row=trial,
        kind=kind,
        origin=origin,
        network=network or f"{trial:064x}",
        text=text or f"input=3x32x32 widths=4,8,16 classes=10 stem=block [minimum={trial}]",
        costs={"flops": 1, "params": 1, "activations": 1, "peak_activations": 1} | costs,
        seed=seed,
        epochs=epochs,
        state=TrialState.DIVERGED if accuracy is None else TrialState.COMPLETE,
        accuracies=() if accuracy is None else (accuracy,),
        memory={"code": list(code)},
    )


def write(file, name, defined, rows):
    """Write a study into a file, beside whatever is there."""
    with closing(Ledger(file)) as ledger:
        studies = Studies(ledger)
        studies.add(name, defined)
        studies.append(name, rows)
    return str(file)


def searched(
    file,
    name="made",
    objectives=("accuracy", "flops"),
    trials=40,
    seed=0,
    *,
    raced=False,
    **changes,
):
    """Write a study of a real space with planted accuracies: named points, then members at random;
    the best have three seeds.

    A race leaves every third of the members behind after the first epoch.
    """
    rng = np.random.default_rng(seed)
    pool = Candidates(grammar())
    opened = list(opening(pool.grammar))
    chosen = [(own, pool.row(network)) for own, network in opened]
    rest = rng.permutation(pool.listed)
    chosen += [("evolution", int(each)) for each in rest if each not in {own for _, own in chosen}][
        : trials - len(chosen)
    ]
    rows = []
    for trial, (origin, place) in enumerate(chosen):
        cost, code = pool.cost(place), [int(level) for level in pool.codes[place]]
        true = 20 + 12 * np.log2(cost["flops"] / 20_000) + 4 * (code[-1] == 0) + rng.normal(0, 2)
        text = str(pool.network(place))
        for own in range(3 if trial % 5 == 0 else 1):
            accuracy = float(np.clip(true + rng.normal(0, 1), 5, 99))
            kind = TrialKind.SEED if own else TrialKind.NEW
            done = row(
                len(rows), trial, accuracy, cost, code, own, kind=kind, origin=origin, text=text
            )
            left = raced and origin == "evolution" and trial % 3 == 0
            early = replace(done, accuracies=(accuracy / 2, *(() if left else done.accuracies)))
            early = replace(early, epochs=1, state=TrialState.PARTIAL) if left else early
            rows.append(early if raced else done)
    changes |= {"rungs": [1, HORIZON]} if raced else {}
    choices = [
        [own, [str(value) for value in values]] for own, values in pool.encoding.levels.items()
    ]
    costs = objectives[1:]
    listed = pool.costs(costs)[: pool.listed]
    frame = {"chance": 10.0, "least": list(listed.min(0)), "largest": list(listed.max(0))}
    return write(file, name, definition(choices, objectives, frame=frame, **changes), rows)
