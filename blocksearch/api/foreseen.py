"""Says how much a search would train, before it trains anything."""

from dataclasses import replace
from typing import Any

from blocksearch.api.answer import Answer
from blocksearch.report.progress import PLAN, duration
from blocksearch.report.table import Report
from blocksearch.runs.callback import Callback
from blocksearch.runs.plan import RunSettings, experiment
from blocksearch.runs.scheduler import foresee
from blocksearch.search.begun import check_goes_on
from blocksearch.search.config import StudyConfig
from blocksearch.search.definition import REPEATED, Evaluation, define, opening
from blocksearch.search.loop import StoppingRule, affordable
from blocksearch.search.objectives import Prices
from blocksearch.space.candidates import Candidates
from blocksearch.space.grammar import Grammar


def foreseen_search(
    name: str, grammar: Grammar, study: StudyConfig, settings: RunSettings, stopping: StoppingRule
) -> Answer[dict[str, Any]]:
    """Say how much a search would train at most, from a few of its networks."""
    grammar, within = affordable(grammar, study, settings.ledger)
    first = [one for _, one in opening(within, study)]
    drawn = within.sample(min(8, len(within)), study.seed)
    shared = experiment(settings, drawn[0], grammar.inputs)
    prices = Prices(Candidates(within, study.seed), study.costs)
    definition = define(name, grammar, prices, Evaluation.by(shared), study)
    check_goes_on(definition, settings.ledger)
    alone = replace(settings, sources=())  # what is known elsewhere says nothing of the seconds
    plan = foresee(shared.jobs(drawn, [0]), alone, Callback())
    each = max(1, len(plan.missing))
    networks = stopping.trials + len(first)
    runs = networks + min(REPEATED, networks)
    seconds = plan.seconds * runs / each
    found: dict[str, Any] = {
        "networks": len(within),
        "trials": stopping.trials,
        "references": len(first),
        "trainings": runs,
        "flops": plan.flops * runs // each,
        "seconds": seconds,
        "timeout": stopping.timeout,
    }
    beside = f"{'given and ' if study.enqueue else ''}reference network{'s' * (len(first) != 1)}"
    said = (
        f"{stopping.trials} networks of {len(within):,} to sample and {len(first)} {beside}, and "
        f"further seeds for the front: about {duration(seconds)} before those, by {len(drawn)} "
        f"networks of the space{'; early stopping makes it less' if study.rungs else ''}"
    )
    title = f"{study.name}: {definition.title}"
    return Answer(found=found, report=Report(title=title, notes=(said,), facts=found, undrawn=PLAN))
