"""CSV: every number reads back as the same number, and no text is a formula or steers a
terminal.
"""

import csv
import io
import tracemalloc
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocksearch.errors import clean
from blocksearch.report.pages import csv_text, stream_csv
from blocksearch.report.table import Report, rows_table

FLOATS = st.floats(allow_nan=False)
NUMBERS = st.integers() | FLOATS | FLOATS.map(np.float64)
TEXTS = st.text() | st.builds(
    "{}{}{}".format,
    st.sampled_from(["", " ", "\t", "\n", "\x1b"]),
    st.sampled_from("=+-@＝"),
    st.text(),
)
FORMULA = tuple("=+-@＝＋－＠")


def read(rows):
    """Write rows both ways and read them as a stranger's program would."""
    streamed = io.BytesIO()
    stream_csv(rows, streamed)
    whole = csv_text(Report(title="t", tables=(rows_table("rows", rows),)))
    texts = (streamed.getvalue().decode(), whole)
    found = [list(csv.reader(io.StringIO(text, newline=""))) for text in texts]
    assert [row[:-1] for row in found[1]] == found[0]
    return found[0]


@given(st.lists(NUMBERS, min_size=1))
@example([33.333333333333336, 1234567890123456, 1234567890123455, 1e22, 5e-324, -0.0, 2**70])
def test_every_number_reads_back_as_the_same_number(numbers):
    _, *rows = read([{"value": value, "all": tuple(numbers)} for value in numbers])
    for value, (alone, together) in zip(numbers, rows, strict=True):
        kind = int if isinstance(value, int) else float
        assert kind(alone) == value
        assert "e" not in alone or not float(value).is_integer() or abs(value) >= 1e22
        assert list(map(float, together.split())) == list(map(float, numbers))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.float32(0.1), "0.10000000149011612"),
        (np.int64(7), "7"),
        (True, "yes"),
        (None, ""),
        (Fraction(1, 3), "0.3333333333333333"),
    ],
)
def test_numbers_of_any_kind_have_all_digits(value, text):
    assert read([{"a": value}])[1] == [text]


@given(st.dictionaries(TEXTS, TEXTS, min_size=1))
def test_no_head_and_no_cell_is_a_formula(row):
    # a name is a head, so that two which differ in what is cleaned would be one
    heads, cells = read([row])
    for text, given_text in [*zip(heads, row, strict=True), *zip(cells, row.values(), strict=True)]:
        assert not text.lstrip().startswith(FORMULA)
        assert text.removeprefix("'") == clean(given_text).removeprefix("'")
        assert clean(text) == text


def test_a_file_has_one_row_of_heads_and_a_title_of_one_line():
    one, two = [{"a": 1, "b": 2}, {"a": 3, "b": 4}], [{"b": 5, "c": "x"}]
    tables = (rows_table("one", one), rows_table("none", []), rows_table("two", two))
    report = Report(title="first\nsecond", tables=tables)
    alone = ["a,b,title", "1,2,first", "3,4,first"]
    assert csv_text(replace(report, tables=tables[:2])).splitlines() == alone
    assert csv_text(replace(report, main="one")).splitlines() == alone
    assert csv_text(report).splitlines() == [
        "table,a,b,c,title",
        "one,1,2,,first",
        "one,3,4,,first",
        "two,,5,x,first",
    ]


def test_a_stream_keeps_no_row(tmp_path):
    rows = ({"network": f"{at:01000}"} for at in range(20_000))
    tracemalloc.start()
    with (tmp_path / "a.csv").open("wb") as out:
        stream_csv(rows, out)
        assert out.tell() == 20_000 * 1001 + 8
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
