"""Names the metric in heads and titles, if a report's number is not accuracy."""

from dataclasses import replace

from blocksearch.report.figure import Figure
from blocksearch.report.table import Report, Table
from blocksearch.runs.measures import ACCURACY, Metric


def measured_by(report: Report, metric: Metric) -> Report:
    """Say in columns and figures what was measured, such as "balanced accuracy".

    >>> from blocksearch.report.table import Column
    >>> from blocksearch.runs.measures import read_metric
    >>> table = Table(name="runs", columns=(Column(name="accuracy"),), rows=())
    >>> measured_by(Report(tables=(table,)), read_metric("macro-f1")).tables[0].columns[0].head
    'macro-F1'
    """
    if metric == ACCURACY:
        return report
    title = metric.title
    return replace(
        report,
        tables=tuple(_table(table, title) for table in report.tables),
        figures=tuple(_figure(figure, title) for figure in report.drawable),
        facts={**report.facts, "metric": str(metric)},
    )


def _table(table: Table, title: str) -> Table:
    columns = tuple(
        replace(each, label=title if each.head.startswith("accuracy") else _said(each.label, title))
        for each in table.columns
    )
    return replace(table, columns=columns)


def _figure(figure: Figure, title: str) -> Figure:
    x, y = (replace(axis, label=_said(axis.label, title)) for axis in (figure.x, figure.y))
    return replace(figure, title=_said(figure.title, title), x=x, y=y)


def _said(text: str, title: str) -> str:
    capital = title[0].upper() + title[1:]
    return text.replace("accuracy", title).replace("Accuracy", capital)
