"""Answers whose number is another one than accuracy: heads and titles say which."""

from dataclasses import replace

from blocksearch.report.figure import Figure, Scale
from blocksearch.report.table import Report, Table


def measured_by(report: Report, metric: str, title: str) -> Report:
    """Say in columns and figures what was measured, such as "balanced accuracy".

    >>> from blocksearch.report.table import Column
    >>> table = Table(name="runs", columns=(Column(name="accuracy"),), rows=())
    >>> measured_by(Report(tables=(table,)), "macro-f1", "macro-F1").tables[0].columns[0].head
    'macro-F1'
    """
    if metric == "accuracy":
        return report
    return replace(
        report,
        tables=tuple(_table(table, title) for table in report.tables),
        figures=tuple(_figure(figure, title) for figure in report.figures if figure.series),
        facts={**report.facts, "metric": metric},
    )


def _table(table: Table, title: str) -> Table:
    columns = tuple(
        replace(each, label=title if each.head.startswith("accuracy") else _said(each.label, title))
        for each in table.columns
    )
    return replace(table, columns=columns)


def _figure(figure: Figure, title: str) -> Figure:
    x, y = _scale(figure.x, title), _scale(figure.y, title)
    return replace(figure, title=_said(figure.title, title), x=x, y=y)


def _scale(scale: Scale, title: str) -> Scale:
    return replace(scale, label=_said(scale.label, title))


def _said(text: str, title: str) -> str:
    capital = title[0].upper() + title[1:]
    return text.replace("accuracy", title).replace("Accuracy", capital)
