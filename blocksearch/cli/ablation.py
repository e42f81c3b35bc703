"""What the commands that ablate have in common: foresee or train, print, and write what was found."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from blocksearch.cli.options import check_files, print_foreseen, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from blocksearch.ablation.design import Variant
    from blocksearch.runs.plan import Request


def answer_ablation(
    name: str,
    found: "Sequence[Variant]",
    seeds: str,
    request: "Request",
    dry_run: bool,
    svg: Path | None,
    report: Path | None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Carry out an ablation, or foresee it. Exit with 1 where a training failed."""
    from blocksearch.ablation.looks import read_looks
    from blocksearch.ablation.study import ablate, as_rows, foresee_ablation
    from blocksearch.report.evidence import ablation_tables
    from blocksearch.report.pages import save_picture, show
    from blocksearch.report.progress import watch
    from blocksearch.runs.plan import read_seeds

    check_files(report=report, svg=svg, dry_run=dry_run)
    looks = read_looks(seeds) or ()
    chosen = () if looks else read_seeds(seeds)
    if dry_run:
        print_foreseen(
            *foresee_ablation(name, found, chosen, request, watch(quiet=quiet), looks),
            as_json=as_json,
        )
        return
    title, results, notes = ablate(name, found, chosen, request, watch(quiet=quiet), looks)
    if report is not None:  # files first: whoever reads the answer may stop reading
        from blocksearch.report.report import ablation_report

        ablation_report(report, title, results, notes)
    tables = ablation_tables(title, results, notes)
    save_picture(svg, *tables)
    print_json({"title": title, "notes": notes, "rows": as_rows(results)}) if as_json else show(
        *tables
    )
    if any(
        reason.startswith("failed") for result in results for reason in result.failures.values()
    ):
        raise typer.Exit(1)
