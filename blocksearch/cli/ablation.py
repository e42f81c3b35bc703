"""What the commands that ablate have in common: foresee or train, print, and write what was found."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from blocksearch.cli.options import check_files, print_foreseen, print_json

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
) -> None:
    """Carry out an ablation, or foresee it. Exit with 1 where a training failed."""
    from blocksearch.ablation.study import ablate, foresee_ablation
    from blocksearch.paper.claims import with_claims
    from blocksearch.report.evidence import ablation_tables
    from blocksearch.report.pages import save_picture, show
    from blocksearch.report.progress import watch

    check_files(report=report, svg=svg, dry_run=dry_run)
    if dry_run:
        print_foreseen(
            *foresee_ablation(name, found, config, request, watch(quiet=quiet)),
            as_json=as_json,
        )
        return
    answer = ablate(name, found, config, request, watch(quiet=quiet))
    answer = replace(answer, results=with_claims(answer.results))
    if report is not None:  # files first: whoever reads the answer may stop reading
        from blocksearch.report.report import ablation_report

        ablation_report(report, answer)
    tables = ablation_tables(answer)
    save_picture(svg, *tables)
    if as_json:
        print_json({"title": answer.title, "notes": answer.notes, "rows": answer.records()})
    else:
        show(*tables)
    if answer.failed:
        raise typer.Exit(1)
