"""Any of Optuna's samplers as a user made it: what it notes and holds fixed is kept, and it says
itself when it has no more to propose.
"""

import numpy as np
import optuna
import pytest
from optuna.samplers import nsgaii

from blocksearch import Grammar, Shape, Study, Task, cost
from blocksearch.errors import ConfigError
from blocksearch.runs.callback import Callback
from blocksearch.search.identity import sampler_text

LEVELS = {
    "bottleneck": ["reduce(1)", "reduce(2)", "reduce(4)"],
    "kernel": ["3x3", "1x3+3x1"],
    "residual": ["none", "add"],
}
S = optuna.samplers
NSGA = S.NSGAIISampler
GRAMMAR = Grammar(Task(input=Shape(1, 16, 16), widths=(4, 8), classes=4), **LEVELS)


def accuracy(network, seed):
    return 40.0 + len(str(network)) % 7 + seed / 10 + cost(network.layers).flops / 1e6


class Noting(optuna.samplers.RandomSampler):
    """Reads in a draw what it noted with the trial."""

    def before_trial(self, study, trial):
        trials = study._storage.get_all_trials(study._study_id)
        study._storage.set_trial_system_attr(trial._trial_id, "kernel", LEVELS["kernel"][0])
        assert all("kernel" in each.system_attrs for each in trials if each.number < trial.number)

    def sample_relative(self, study, trial, search_space):
        return {"kernel": trial.system_attrs["kernel"]}


def searched_by(file, sampler, trials, **options):
    """Search with one of Optuna's samplers, and return the networks and what is said last."""
    said = []
    callback = Callback()
    callback.search_ended = lambda reason, _: said.append(reason)
    asked = {"objective": accuracy, "references": "none", "seeds": 1, "sampler": sampler} | options
    found = Study(GRAMMAR, file, **asked).search(trials=trials, callbacks=[callback]).found
    return [entry.text for entry in found.entries], said[-1]


@pytest.mark.parametrize("pending", [1, 3])
def test_a_grid_is_searched_to_its_end_and_no_further(tmp_path, pending):
    grid = S.GridSampler
    texts, _ = searched_by(tmp_path / "a.db", grid(LEVELS), 12, max_pending=pending)
    assert len(set(texts)) == 12
    part = LEVELS | {"kernel": ["1x3+3x1"]}
    limits = {"budgets": ["accuracy >= 1"], "max_pending": pending}
    for trials, count in ((3, 3), (20, 6), (30, 6)):  # each as a new process would
        texts, said = searched_by(tmp_path / "b.db", grid(part), trials, **limits)
        assert len(set(texts)) == count
        assert all("kernel=1x3+3x1" in text for text in texts)
    assert said == "GridSampler proposes no more networks: the search ends after 6 trials"
    texts, said = searched_by(tmp_path / "a.db", grid(LEVELS), 13, max_pending=pending)
    assert said.startswith("no network is left that is within the budgets and untrained: ")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_a_sampler_notes_or_holds_fixed_is_kept(tmp_path):
    tpe = S.TPESampler(n_startup_trials=1, multivariate=True, seed=0)
    fixed = S.PartialFixedSampler({"kernel": "3x3"}, tpe)
    for place, sampler in enumerate((Noting(seed=0), fixed)):
        for trials in (2, 4):
            texts, _ = searched_by(tmp_path / f"{place}.db", sampler, trials)
        assert len(texts) == 4
        assert not [text for text in texts if "kernel" in text]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda: S.GridSampler(LEVELS), lambda: S.GridSampler(LEVELS | {"kernel": ["3x3"]})),
        (
            lambda: S.PartialFixedSampler({"kernel": "3x3"}, S.RandomSampler()),
            lambda: S.PartialFixedSampler({"kernel": "1x3+3x1"}, S.RandomSampler()),
        ),
        (
            lambda: S.PartialFixedSampler({"kernel": "3x3"}, S.TPESampler(n_ei_candidates=12)),
            lambda: S.PartialFixedSampler({"kernel": "3x3"}, S.TPESampler()),
        ),
        (lambda: NSGA(mutation_prob=0.1), lambda: NSGA(mutation_prob=0.2)),
        (lambda: NSGA(crossover=nsgaii.SBXCrossover()), NSGA),
        (lambda: S.GPSampler(deterministic_objective=True), S.GPSampler),
    ],
    ids=["grid", "fixed", "nested", "mutation", "crossover", "gp"],
)
def test_a_study_goes_on_with_the_same_arguments_alone(tmp_path, make, other):
    for trials in (1, 2):
        searched_by(tmp_path / "a.db", make(), trials)
    with pytest.raises(ConfigError, match=r"was begun otherwise \(sampler was opt.*, now opt"):
        searched_by(tmp_path / "a.db", other(), 3)


def test_what_differs_is_said_of_long_texts(tmp_path):
    searched_by(tmp_path / "a.db", NSGA(mutation_prob=0.125), 1)
    with pytest.raises(ConfigError, match=r"mutation_prob=0\.125, .*mutation_prob=0\.25, "):
        searched_by(tmp_path / "a.db", NSGA(mutation_prob=0.25), 2)


def test_arguments_are_written_alike_by_each_process():
    class Own:
        def __init__(self, options, kinds, of=None):
            self.options, self.kinds, self.of = options, kinds, of

    one = Own({"a": 1, "b": {2, 1}}, (int, np.array([1])), object())
    assert sampler_text(one).startswith(
        f"{Own.__module__}.{Own.__qualname__}(options={{'a': 1, 'b': {{1, 2}}}}, "
        "kinds=[builtins.int, [1]], of=builtins.object) "
    )
    assert sampler_text(one) == sampler_text(Own({"b": {1, 2}, "a": 1}, one.kinds, object()))
