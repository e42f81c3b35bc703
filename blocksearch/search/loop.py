"""Runs the loop of a search: trials ▶ workers ▶ ledger ▶ study. One driver owns a study.

A run is in the ledger before its trial is in the study, and a trial before its copy in Optuna's
tables. So a driver that is killed in between leaves nothing that the next one cannot complete.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Real

from threadpoolctl import threadpool_limits

from blocksearch.arch.network import Network
from blocksearch.errors import ConfigError, SpecError, StoreError, check_fields
from blocksearch.runs.callback import Callback
from blocksearch.runs.executor import start
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.measures import read_metric
from blocksearch.runs.plan import RunSettings, experiment
from blocksearch.runs.scheduler import opened
from blocksearch.search.begun import (
    agree,
    alone,
    in_its_order,
    making_tables,
    refuse_foreign,
    settled,
)
from blocksearch.search.config import StudyConfig
from blocksearch.search.definition import Evaluation, StudyDefinition, define, opening
from blocksearch.search.identity import is_optuna
from blocksearch.search.objectives import Objective, Prices
from blocksearch.search.optuna_io import Export, forget
from blocksearch.search.schedule import TrialQueue, policy_of
from blocksearch.search.trainings import Trainings, check_judge, check_returned
from blocksearch.search.trials import Studies, Trial, TrialState
from blocksearch.space.candidates import Candidates
from blocksearch.space.grammar import Grammar

Function = Callable[[Network, int], float | Mapping[str, float] | None]
LOOKED_AT = 3  # models of a user's that must not all be the same
SHARES_AFTER = 3  # results of at most 1 that make us doubt that they are percent


@dataclass(frozen=True)
class StoppingRule:
    """Ends a search when so many are sampled and the front has its seeds, or after `timeout` s."""

    trials: int
    timeout: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.trials < 1:
            raise ConfigError(f"trials must be at least 1, but got {self.trials}")
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigError(f"timeout must be above 0 seconds, but got {self.timeout:g}")


def affordable(grammar: Grammar, config: StudyConfig, location: str) -> tuple[Grammar, Grammar]:
    """Return the space in the order of its study, and that within the budgets, once there is
    anything in it. Raises ConfigError or SpecError for what cannot be asked, before anything is
    written.
    """
    whole = in_its_order(grammar, config, location)
    found = whole.where(*config.exact_budgets)
    list(opening(found, config))
    if found.enumeration.streamable:
        found.enumeration.count()
    _check_blocks_are_used(found)
    return whole, found


def _check_blocks_are_used(grammar: Grammar) -> None:
    """Raise ConfigError if a user's model is the same whatever the block is."""
    if grammar.skeleton is None or len(few := list(islice(_made(grammar), LOOKED_AT))) < LOOKED_AT:
        return
    if len({network.digest for network in few}) == 1:
        raise ConfigError(
            f"{grammar.skeleton.name} returns the same model for different blocks: "
            f"{' and '.join(f'[{each.blocks[0]}]' for each in few)}"
        )


def _made(grammar: Grammar) -> Iterator[Network]:
    """Yield networks of a space whose block fits into the user's model."""
    space = grammar.enumeration
    for rank in space.some(20):
        with suppress(SpecError):
            network = space.network(space.unrank(rank))
            _ = network.cost
            yield network


def search(
    space: str,
    grammar: Grammar,
    config: StudyConfig,
    settings: RunSettings,
    stopping: StoppingRule,
    callback: Callback,
) -> None:
    """Search by training. Raises ConfigError if another driver has the study, or if it was
    begun with something else; RunError if this machine cannot carry out a training.
    """
    grammar, within = affordable(grammar, config, settings.ledger)
    settings = replace(settings, metric=read_metric(config.metric))
    # of the budgets' few none might be drawn
    shared = experiment(settings, next(iter(grammar.sample(1, 0))), grammar.inputs)
    check_judge(shared, config.measured)
    prices = Prices(Candidates(within, config.seed), config.costs)
    definition = define(space, grammar, prices, Evaluation.by(shared), config)
    refuse_foreign(settings.ledger, config.name)
    with (
        alone(settings.ledger, config.name),
        start(settings.executor, settings.workers, settings.device) as workers,
        closing(opened(settings.ledger, workers)) as ledger,
    ):
        study = Driver(ledger, definition, prices, stopping, callback, workers.count + 1)
        with (
            study.ending(),
            closing(
                Trainings(study, definition.rungs, shared, ledger, workers, config.measured)
            ) as trainings,
        ):
            workers.train_as_they_come(trainings.following, trainings.done, lambda _: None)
            trainings.check()


def evaluate(
    space: str,
    grammar: Grammar,
    config: StudyConfig,
    function: Function,
    location: str,
    stopping: StoppingRule,
    callback: Callback,
    catch: tuple[type[Exception], ...] = (),
) -> None:
    """Search by calling a function of a network and a seed; it returns percent, or None for a
    network that came to nothing. Where more is measured, it returns each value by its name.

    Raises ConfigError for a result that is none of these. What the function raises ends the search
    and is passed on, with a note of the trial, which is not stored; where it is of the kinds in
    `catch`, the trial counts as failed and keeps the reason.
    """
    measured = config.measured
    check_returned(config.metric, measured)
    grammar, within = affordable(grammar, config, location)
    prices = Prices(Candidates(within, config.seed), config.costs)
    definition = define(space, grammar, prices, Evaluation.by_function(function), config)
    refuse_foreign(location, config.name)
    with alone(location, config.name), closing(Ledger(location)) as ledger:
        study = Driver(ledger, definition, prices, stopping, callback, 1)
        values = list[float]()
        with study.ending():
            while (trial := study.next()) is not None:
                try:
                    found = function(study.pool.network(trial.row), trial.seed)
                except catch as error:
                    reason = {"reason": f"{type(error).__name__}: {error}"}
                    trial = replace(trial, memory={**trial.memory, **reason})
                    study.finish(trial, (), TrialState.FAILED)
                    continue
                except Exception as error:
                    error.add_note(
                        f"raised by the objective in trial {trial.number}, seed {trial.seed}; "
                        "the trial is not stored, and the same lines go on with it; with "
                        f"catch=({type(error).__name__},) it counts as failed"
                    )
                    raise
                accuracies, others = _results(found, measured)
                values += accuracies
                if accuracies:
                    _warn_of_shares(values)
                study.finish(trial.with_measured(others), accuracies, TrialState.DIVERGED)


def _warn_of_shares(values: Sequence[float]) -> None:
    """Warn, once, where what should be percent looks like shares of 1."""
    if len(values) == SHARES_AFTER and 0 < max(values) <= 1:
        warnings.warn(
            "an objective returns percent between 0 and 100, but all values so far are at most "
            f"1, such as {max(values):g}: is this a share?",
            UserWarning,
            stacklevel=4,
        )


def _results(
    found: object, measured: Sequence[Objective]
) -> tuple[tuple[float, ...], dict[str, float]]:
    """Return the accuracy that a function gave, if any, and what else is measured by name."""
    if found is None:
        return (), {}
    if not measured:
        return (_percent(found),), {}
    names = ["accuracy", *(each.name for each in measured)]
    if not isinstance(found, Mapping) or set(found) != set(names):
        raise ConfigError(
            f"an objective must return {' and '.join(names)} by name, or None, but got {found!r}"
        )
    others = {each.name: each.measure.checked(found[each.name]) for each in measured}
    return (_percent(found["accuracy"]),), others


def _percent(found: object) -> float:
    if not isinstance(found, Real) or not 0 <= float(found) <= 100:
        raise ConfigError(
            f"an objective must return percent between 0 and 100, or None, but got {found!r}"
        )
    return float(found)


class Driver:
    """Holds the lock of a study, its queue of trials, and the tables that they are written to."""

    def __init__(
        self,
        ledger: Ledger,
        definition: StudyDefinition,
        prices: Prices,
        stopping: StoppingRule,
        callback: Callback,
        pending: int,
    ) -> None:
        self._stopping, self._callback = stopping, callback
        self._studies, self._name = Studies(ledger), definition.config.name
        stored, told = self._studies.definition(self._name), self._studies.trials(self._name)
        definition = replace(definition, config=settled(definition.config, stored, pending))
        if stored is not None and definition.differences(stored) and not told:
            forget(ledger.location, self._name)  # a first attempt that came to nothing
            self._studies.forget(self._name)
            stored = None
        agree(stored, definition, ledger.location)
        if stored is not None:  # one that was begun before networks were repeated goes on without
            definition = replace(definition, repeated=int(stored.get("repeated", 0)))
        self._config = definition.config
        self.pool, self._prices = prices.pool, prices
        policy = policy_of(prices, definition)
        if stored is None:
            self._studies.add(self._name, definition.as_data())
        with making_tables(ledger.location):
            self._export = Export(ledger.location, definition, self.pool)
        self._export.add(told)
        rows = (self.pool.recall(each.network, each.code, each.text) for each in told)
        recalled = [replace(each, row=row) for each, row in zip(told, rows, strict=True)]
        self.queue = TrialQueue(policy, stopping.trials, recalled)
        self._total = stopping.trials + len(policy.opening)
        self._deadline = None if stopping.timeout is None else time.monotonic() + stopping.timeout
        self._late, self._begun = False, len(told)
        self._reused: dict[int, bool] = {}
        callback.search_started(self._name, len(told), self._total)

    def next(self) -> Trial | None:
        """Return the trial to carry out now; None if it has to wait, or nothing or no time is
        left.
        """
        self._late = self._deadline is not None and time.monotonic() >= self._deadline
        return None if self._late else self.queue.next()

    def finish(
        self,
        trial: Trial,
        accuracies: tuple[float, ...],
        otherwise: TrialState,
        *,
        reused: bool = False,
    ) -> None:
        """Take the accuracies of a trial, or none and what became of it `otherwise`, and write what
        counts now.
        """
        if accuracies:
            whole = trial.epochs == self.queue.policy.rungs[-1]
            otherwise = TrialState.COMPLETE if whole else TrialState.PARTIAL
        self._reused[trial.step] = reused
        network = self.pool.network(trial.row)
        code = {"code": [int(level) for level in self.pool.codes[trial.row]]}
        finished = replace(
            trial,
            state=otherwise,
            accuracies=accuracies,
            network=network.digest,
            text=str(network),
            costs={**self._prices.named(trial.row), **self.pool.cost(trial.row)},
            memory={**trial.memory, **code},
        )
        counted = self.queue.finish(finished)
        self._studies.append(self._name, counted)
        self._export.add(counted)
        for each in counted:
            self._callback.trial_finished(each, self._total, self._reused.pop(each.step))

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Run a search, and say how it ended."""
        try:
            # matrices are small and workers busy, so more threads would wait for each other
            with threadpool_limits(1, user_api="blas"):
                yield
        except KeyboardInterrupt:
            done = self.queue.sampled
            self._callback.ended(
                f"interrupted after {done} trials; the same command goes on from there"
            )
            raise
        except StoreError:  # the copy would wait for the same database: the next start makes it
            self._export.leave()
            raise
        finally:
            self._export.close()
        self._callback.search_ended(*self._reason())
        self._callback.ended(None)

    def _reason(self) -> tuple[str, str]:
        """Say how the search ended, and what of that belongs to its answer."""
        done, trials = self.queue.sampled, self._stopping.trials
        if self._late:
            late = f"the time is up after {done} of {trials} trials"
            return (said := f"{late}; the same command goes on from there"), said
        if done < trials:
            why = self.queue.policy.why_no_more(self.queue.told)
            return (said := f"{why}: the search ends after {done} trials"), said
        if len(self.queue.told) == self._begun:
            asked = f"{trials} trials in all were asked for"
            return f"nothing to do: {asked}, and the study has {done}", ""
        found = f"{done} trials, {len(self.queue.told)} trainings"
        if self._begun and is_optuna(self._config.sampler):
            told = (
                f"{self._config.sampler_name} was told of all that came before, but need not "
                "take the steps of an uninterrupted search"
            )
            return f"{found}; {told}", told
        return found, ""
