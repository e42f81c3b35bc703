"""Defines callbacks, by which progress bars and a user's objects follow a running command."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from blocksearch.errors import ConfigError, check_type
from blocksearch.runs.records import Group, Plan, Run


class Callback:
    """Hears how trainings and searches go; here, every method does nothing.

    Subclass it, or write any object with some of these methods, and hand it to `callbacks=[...]`.
    An exception that a method raises ends the command, which goes on from there the next time.
    `bs.Progress()` is a callback that prints what it hears.

    >>> import blocksearch as bs
    >>> class Best(bs.Callback):
    ...     best = 0.0
    ...     def finished(self, group, runs):
    ...         self.best = max([self.best, *(run.accuracy or 0.0 for run in runs)])
    ...     def trial_finished(self, trial, total, reused):
    ...         self.best = max(self.best, trial.accuracy or 0.0)
    >>> answer = bs.train("effnet", callbacks=[Best()])  # doctest: +SKIP
    """

    def reading(self, share: float) -> None:
        """Hear that this share of images is read, 0 to 1, which happens once: nothing is planned
        yet. Of a data set by its name, 0 is all that is heard.
        """

    def timing(self, networks: int) -> None:
        """Hear that some of so many networks are about to be timed, for a few seconds."""

    def planned(self, plan: Plan) -> None:
        """Hear that trainings are planned, with jobs `plan.missing`; nothing is trained yet."""

    def started(self, group: Group) -> None:
        """Hear that a worker has begun a group, which is one network with one or more seeds."""

    def finished(self, group: Group, runs: Sequence[Run]) -> None:
        """Hear that the runs of a group are in the database, with accuracies in percent."""

    def search_started(self, study: str, trials: int, total: int) -> None:
        """Hear that a search begins, or goes on after `trials`, to `total` networks in all."""

    def trial_finished(self, trial: Any, total: int, reused: bool) -> None:
        """Hear that a trial has counted, with its accuracy in percent and its costs; it is `reused`
        if the database had its run.
        """

    def search_ended(self, reason: str, remark: str) -> None:
        """Hear how a search came to its end, such as "12 trials, 16 trainings". Its answer has the
        `remark`, which is "" where it ended as it was asked to.
        """

    def ended(self, reason: str | None) -> None:
        """Hear that no more trainings will come; the reason is None if nothing was interrupted."""


HOOKS = tuple(name for name in vars(Callback) if not name.startswith("_"))


def together(callbacks: Sequence[object]) -> Callback:
    """Return a callback that calls several, each of which has the methods that it wants. Raises
    ConfigError for one that has none, or a misspelt one.
    """
    made = Callback()
    check_type("callbacks", callbacks, Sequence[Any])
    for each in callbacks:
        _check(each)

    def passing(name: str) -> Any:
        def call(*happened: Any) -> None:
            for each in callbacks:
                if hear := getattr(each, name, None):
                    hear(*happened)

        return call

    for name in HOOKS:
        setattr(made, name, passing(name))
    return made


def _check(given: object) -> None:
    """Raise ConfigError for what hears nothing, or has a method that is nearly a hook."""
    inherited = set(dir(Callback)) if isinstance(given, Callback) else set()
    own = {name for kind in type(given).__mro__ if kind is not Callback for name in vars(kind)}
    own |= set(getattr(given, "__dict__", ()))
    for name in sorted(own - {*HOOKS, *inherited}):
        if name.startswith("_") or not callable(getattr(given, name, None)):
            continue
        if (hook := _meant(name)) and hook not in own:
            raise ConfigError(
                f"a callback has no method {name!r}, but {type(given).__name__} does: did you mean "
                f"{hook!r}?"
            )
    if isinstance(given, type) or not any(callable(getattr(given, name, None)) for name in HOOKS):
        raise ConfigError(
            f"a callback is an object with one or more of the methods {', '.join(HOOKS)}, but "
            f"got {given!r:.80}"
        )


def _meant(name: str) -> str | None:
    """Return the hook that a name looks like: misspelt, begun like it, or `on_` as elsewhere."""
    plain = name.removeprefix("on_")
    begun = [hook for hook in HOOKS if plain == hook or plain.startswith(f"{hook}_")]
    return next(iter([*begun, *get_close_matches(plain[:80], HOOKS, 1, 0.8)]), None)
