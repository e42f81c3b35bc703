"""Every sampler behind one filter: nothing twice or over budget, every member at last, and the same
steps after a kill.
"""

import json
import random
from dataclasses import replace
from functools import cache

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import NSGAIISampler

from blocksearch.search.config import MAX_PENDING, StudyConfig
from blocksearch.search.objectives import Prices
from blocksearch.search.optuna_samplers import POPULATION, OptunaSampler
from blocksearch.search.samplers import SAMPLERS, Untrained
from blocksearch.search.schedule import TrialQueue
from blocksearch.search.trials import Trial
from blocksearch.space.candidates import Candidates
from blocksearch.space.load import load_space
from tests.benchmarks.queues import Smooth, Space, done, new, proposed, take
from tests.search.spaces import SPELLED, STAGES, TWELVE
from tests.strategies import tries

FEW = {"gp": 12}  # the GP takes a second for each proposal once it has ten results
SPACES = {
    "twelve": Space(TWELVE),
    "spelled": Space(SPELLED, ("flops <= 300k",)),
    "large": Space(STAGES, ("flops <= 300k",)),
}


@cache
def section3() -> Space:
    return Space(load_space("section3"), ("flops <= 500k", "params <= 24k"))


def check_filter(sampler: str, trials: int) -> None:
    queue = section3().queue(StudyConfig(sampler=sampler), trials)
    trials += len(queue.policy.opening)
    pool, found = queue.policy.pool, new(take(queue))
    assert section3().affordable.size >= 1_050
    assert len(found) == trials == len({pool.network(trial.row).digest for trial in found})
    for trial in found:
        price = pool.cost(trial.row)
        assert price["flops"] <= 500_000
        assert price["params"] <= 24_000
        assert pool.members[trial.row] or trial.origin != sampler


@pytest.mark.parametrize(
    "sampler",
    [own if own == "evolution" else pytest.param(own, marks=pytest.mark.slow) for own in SAMPLERS],
)
def test_nothing_is_trained_twice_or_over_budget(sampler):
    check_filter(sampler, FEW.get(sampler, 30))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "trials"),
    [
        *(("evolution", 240), ("random", 240), ("nsga2", 240), ("tpe", 160), ("gp", 18)),
        *(
            pytest.param(*long, marks=pytest.mark.full)
            for long in (
                *((own, 400) for own in ("evolution", "random", "nsga2")),
                ("tpe", 300),
                ("gp", 40),
            )
        ),
    ],
)
def test_nothing_is_trained_twice_or_over_budget_in_a_long_search(sampler, trials):
    check_filter(sampler, trials)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_member_is_proposed_before_a_search_ends(sampler):
    queue = SPACES["twelve"].queue(StudyConfig(sampler=sampler, seeds=1), 100)
    pool, found = queue.policy.pool, new(take(queue))
    assert {trial.row for trial in found if pool.members[trial.row]} == set(range(12))
    assert len(found) == len({trial.row for trial in found}) < 100
    assert queue.next() is None


def said(queue: TrialQueue, trial: Trial) -> tuple[object, ...]:
    """A trial as a file would hold it; rows are a pool's own."""
    digest = queue.policy.pool.network(trial.row).digest
    memory = json.dumps(trial.memory, sort_keys=True)
    return digest, memory, replace(trial, row=0, memory={})


def resumed(space: Space, config: StudyConfig, trials: int, old: TrialQueue) -> TrialQueue:
    """Begin again in a new process: a pool and samplers of their own, told what a file holds."""
    queue = space.queue(config, trials)
    pool, before = queue.policy.pool, old.policy.pool
    for told in old.told:
        network = before.network(told.row)
        row = pool.recall(network.digest, before.codes[told.row].tolist(), "")
        queue.told.append(replace(told, row=row, memory=json.loads(json.dumps(told.memory))))
    return queue


def search(
    space: Space,
    config: StudyConfig,
    trials: int,
    *,
    order: int = 0,
    kills: frozenset[int] = frozenset(),
) -> list[tuple]:
    """Search with as many steps in flight as may be, ending in a random order, killed after so many
    steps.
    """
    queue, objective, rng = space.queue(config, trials), Smooth(), random.Random(order)
    flying: list[Trial] = []
    while True:
        while len(flying) < MAX_PENDING and (trial := queue.next()) is not None:
            flying.append(trial)
        if not flying:
            return [said(queue, told) for told in queue.told]
        trial = flying.pop(rng.randrange(len(flying)) if order else 0)
        network = queue.policy.pool.network(trial.row)
        lost = int(network.digest, 16) % 9 == 0
        queue.finish(done(trial, *(() if lost else (objective(network, trial.seed),))))
        if len(queue.told) in kills:
            kills -= {len(queue.told)}
            queue, flying = resumed(space, config, trials, queue), []


@cache
def uninterrupted(space: str, config: StudyConfig, trials: int) -> list[tuple]:
    return search(SPACES[space], config, trials)


def check_kills(space: str, sampler: str, trials: int, order: int, kills: set[int]) -> None:
    config = StudyConfig(sampler=sampler, seeds=2)
    trials -= 3  # the reference networks
    assert search(
        SPACES[space], config, trials, order=order, kills=frozenset(kills)
    ) == uninterrupted(space, config, trials)


killed = st.sets(st.integers(1, 90), min_size=1, max_size=3)


@tries(16)
@given(st.sampled_from(["random", "nsga2", "tpe"]), st.integers(0, 3), killed)
@pytest.mark.slow
def test_a_killed_search_takes_the_steps_of_an_uninterrupted_one(sampler, order, kills):
    check_kills("spelled", sampler, 80, order, kills)


@tries(8)
@given(st.integers(0, 3), killed)
@pytest.mark.slow
def test_so_does_evolution(order, kills):
    check_kills("spelled", "evolution", 50, order, kills)


@pytest.mark.slow
@pytest.mark.parametrize("space", ["spelled", "large"])
@pytest.mark.parametrize("sampler", ["random", "nsga2", "tpe", "evolution"])
@tries(4)
@given(order=st.integers(0, 9), kills=killed)
def test_so_do_all_in_spaces_listed_whole_or_not(sampler, space, order, kills):
    check_kills(space, sampler, 80, order, kills)


@pytest.mark.slow
@tries(3)
@given(st.integers(0, 9), st.sets(st.integers(8, 25), min_size=1, max_size=2))
def test_so_does_the_gp(order, kills):
    check_kills("spelled", "gp", 20, order, kills)


def test_two_seeds_take_different_steps():
    found = [
        [
            trial.row
            for trial in new(
                take(SPACES["spelled"].queue(StudyConfig(sampler="random", seed=s), 20))
            )
        ]
        for s in (0, 1)
    ]
    assert found[0] != found[1]


MARKS = ("bottleneck", "groups")


def marked(pool: Candidates) -> np.ndarray:
    """Say which members have the last option of both."""
    places = [pool.encoding.names.index(name) for name in MARKS]
    return (pool.codes[:, places] == 2).all(1)


def first_generation(pool: Candidates) -> tuple[list[int], list[Trial]]:
    """Tell of twice as many networks as NSGA-II breeds from; only the named ones, which are marked,
    are any good.
    """
    costs = pool.costs(["flops"])[:, 0]
    named = sorted(np.flatnonzero(marked(pool)), key=lambda row: costs[row])[:6]
    others = sorted(np.flatnonzero(~marked(pool)), key=lambda row: -costs[row])[
        : 2 * POPULATION - len(named)
    ]
    trials = [proposed(int(row), number=place) for place, row in enumerate(named + others)]
    return [int(row) for row in named], [
        done(trial, 80.0 + trial.number if trial.row in named else 10.0) for trial in trials
    ]


def bred(
    pool: Candidates, told: list[Trial], count: int, seed: int = 0
) -> tuple[OptunaSampler, list[int]]:
    """Let NSGA-II propose so many children."""
    sampler = OptunaSampler("nsga2", Prices(pool, ("flops",)))
    pending: list[Trial] = []
    for number in range(len(told), len(told) + count):
        taken = np.zeros(len(pool), bool)
        taken[[trial.row for trial in (*told, *pending)]] = True
        rng = np.random.default_rng([seed, number])
        found = sampler.propose(told, pending, Untrained(pool, taken), rng)
        pending.append(proposed(found.row, number=number, memory=found.memory))
    return sampler, [trial.row for trial in pending]


def test_named_points_become_parents_and_their_children_carry_what_they_are_made_of():
    pool = Candidates(SPELLED)
    named, told = first_generation(pool)
    sampler, children = bred(pool, told, 8)
    nsga2 = NSGAIISampler(population_size=POPULATION, seed=0)
    assert [trial.number for trial in nsga2.get_population(sampler._study, 0)] == list(
        range(len(told))
    )
    chosen = [told[trial.number].row for trial in nsga2.get_parent_population(sampler._study, 1)]
    assert len(chosen) == POPULATION < len(told)
    assert set(named) <= set(chosen)
    children += [row for seed in range(1, 10) for row in bred(pool, told, 8, seed)[1]]
    assert marked(pool)[children].mean() > 2 * marked(pool).mean()


def test_without_the_mark_of_a_generation_they_would_not():
    """Why `_add` gives it: Optuna's NSGA-II has no population in the same trials without it."""
    pool = Candidates(SPELLED)
    sampler, _ = bred(pool, first_generation(pool)[1], 1)
    bare = optuna.create_study(directions=["maximize", "minimize"])
    for trial in sampler._study.get_trials()[:-1]:
        trial.system_attrs = {}
        bare.add_trial(trial)
    nsga2 = NSGAIISampler(population_size=POPULATION, seed=0)
    assert nsga2.get_population(bare, 0) == []
    assert nsga2.get_trial_generation(bare, bare.ask()._get_latest_trial()) == 0


def test_nsga2_inherits_from_named_points_that_are_no_members_and_the_others_are_not_told_of_them():
    told = {}
    for kind in ("nsga2", "tpe", "gp"):
        queue = SPACES["spelled"].queue(StudyConfig(sampler=kind, seeds=1), 6)
        take(queue)
        told[kind] = len(queue.policy.sampler._study.trials)
    strangers = sum(not queue.policy.pool.members[trial.row] for trial in new(queue.told))
    assert strangers > 0
    assert told == {"nsga2": 9, "tpe": 9 - strangers, "gp": 9 - strangers}
