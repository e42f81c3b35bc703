"""A study as it was begun: a later command goes on with it, or is told what it means otherwise."""

from contextlib import closing
from dataclasses import replace
from typing import Any

from blocksearch.errors import ConfigError
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.location import Location
from blocksearch.runs.peek import contents
from blocksearch.search.config import StudyConfig
from blocksearch.search.definition import Definition
from blocksearch.search.trials import TABLES, Studies, foreign
from blocksearch.space.grammar import Grammar


def in_its_order(grammar: Grammar, config: StudyConfig, location: str) -> Grammar:
    """Return a space with its factors in the order in which the study has them, where there is one:
    the order of keywords makes no other space, but it numbers networks.
    """
    stored, _ = _stored(location, config.name)
    described = stored.get("described") if stored else None
    if not described or len(described) != len(grammar.parts):
        return grammar
    if any(
        len(part.options) != len(own["options"])
        for part, own in zip(grammar.parts, described, strict=True)
    ):
        return grammar
    return grammar.in_order_of(described)


def _stored(location: str, name: str) -> tuple[dict[str, Any] | None, bool]:
    """Return the definition of a study, if there is one, and whether it has trials."""
    file = Location(location).file
    if (file is not None and not file.is_file()) or (not contents(location).tables & TABLES):
        return None, False
    with closing(Ledger(location, create=False)) as ledger:
        studies = Studies(ledger)
        return studies.definition(name), bool(studies.trials(name))


def check_goes_on(definition: Definition, location: str) -> None:
    """Raise ConfigError where a search would not begin a study, nor go on with one; nothing is
    written.
    """
    name = definition.config.name
    refuse_foreign(location, name)
    stored, has_trials = _stored(location, name)
    if stored is not None and has_trials:
        agree(stored, replace(definition, config=settled(definition.config, stored, 0)), location)


def settled(config: StudyConfig, stored: dict[str, Any] | None, pending: int) -> StudyConfig:
    """Let a new study have as many trainings in flight as suit this machine, where none are wished,
    and one that goes on as many as it has.
    """
    if config.max_pending is not None:
        return config
    known = pending if stored is None else int(stored["wishes"]["lag"])
    return replace(config, max_pending=known)


def agree(stored: dict[str, Any] | None, definition: Definition, location: str) -> None:
    """Raise ConfigError where a study of this name is there and means something else."""
    name = definition.config.name
    if stored is None:
        there = contents(location)
        if name in foreign(there, location, {*there.optuna} - {name}):
            raise _foreign(location, name)
    elif differences := definition.differences(stored):
        raise ConfigError(
            f"study {name} was begun otherwise ({'; '.join(differences)}): give it another name, "
            "or the old values"
        )


def refuse_foreign(location: str, name: str) -> None:
    """Raise ConfigError where only Optuna has a study of this name, before anything is written."""
    file = Location(location).file
    if file is None or not file.is_file():
        return
    there = contents(location)
    if not there.tables & TABLES and name in foreign(there, location, ()):
        raise _foreign(location, name)


def _foreign(location: str, name: str) -> ConfigError:
    return ConfigError(
        f"{Location(location)} has a study {name} that was made elsewhere: give this one "
        "another name"
    )
