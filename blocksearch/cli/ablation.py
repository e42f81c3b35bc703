"""What the commands that ablate have in common: foresee or train, print, and write what was found."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from blocksearch.cli.options import ADVICE, answer, check_files, print_foreseen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blocksearch.ablation.config import AblationConfig
    from blocksearch.ablation.design import Variant
    from blocksearch.runs.plan import Request


def answer_ablation(
    name: str,
    found: "Sequence[Variant]",
    config: "AblationConfig",
    request: "Request",
    dry_run: bool,
    svg: Path | None,
    report: Path | None,
    *,
    as_json: bool,
    quiet: bool,
    wide: bool = False,
) -> None:
    """Carry out an ablation, or foresee it. Exit with 1 where a training failed."""
    from blocksearch.ablation.study import ablate, foresee_ablation
    from blocksearch.paper.claims import with_claims
    from blocksearch.report.comparisons import ablation_report
    from blocksearch.report.progress import trainings

    check_files(report=report, svg=svg, dry_run=dry_run)
    with trainings(quiet=quiet, advice=ADVICE) as watch:
        if dry_run:
            planned = foresee_ablation(name, found, config, request, watch)
        else:
            done = ablate(name, found, config, request, watch)
    if dry_run:
        print_foreseen(*planned, as_json=as_json)
        return
    done = replace(done, results=with_claims(done.results))
    answer(ablation_report(done), report, svg, as_json=as_json, wide=wide)
    if done.failed:
        raise typer.Exit(1)
