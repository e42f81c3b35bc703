"""Errors and texts that are shown: one line of at most 300 characters, and nothing that a terminal
obeys.
"""

import pickle
import sys
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import MISSING, fields

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blocksearch.ablation.config import AblationConfig, GainConfig, ScoresConfig
from blocksearch.cli import main
from blocksearch.errors import (
    LONGEST,
    BlocksearchError,
    ConfigError,
    ParseError,
    clean,
    one_line,
    unknown,
)
from blocksearch.runs.config import RunConfig
from blocksearch.search.config import StudyConfig
from blocksearch.search.loop import StoppingRule

WILD = st.text(st.characters(exclude_categories=())) | st.text(max_size=900).map(lambda t: 9 * t)
EVERY = [chr(code) for code in range(sys.maxunicode + 1)]
OBEYED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # control, format (bidi too), halves of characters


def test_no_character_that_a_terminal_obeys_or_xml_forbids_is_left():
    left = [each for each in EVERY if unicodedata.category(each) in OBEYED and each in clean(each)]
    assert left == ["\n"]
    ET.fromstring(f"<a>{clean(''.join(EVERY)).replace('&', '').replace('<', '')}</a>")
    for kept in ("a b", "é漢字\u3000한글", "1\u00a0000", "line\nline", "±×·→€😀"):
        assert clean(kept) == kept


@given(WILD)
@example("\x1d".join("abc"))
@example("a\u2028b\r\nc")
@example("x" * 5000)
@example("x " * 5000)
def test_an_error_is_one_short_clean_line(text):
    said = str(BlocksearchError(text))
    assert len(said) <= LONGEST
    assert said.splitlines() in ([said], [])
    assert clean(said) == said
    assert one_line(said) == said
    assert str(pickle.loads(pickle.dumps(ParseError(text)))) == str(ParseError(text))


@pytest.mark.parametrize("length", [1, 299, 300])
def test_a_message_that_fits_is_said_as_it_is(length):
    text = ("a  b" * 100)[:length]
    assert one_line(text) == text.strip()


@given(st.text(min_size=301, max_size=5000))
def test_what_was_given_is_shortened_and_the_rule_is_kept(given_text):
    said = str(unknown("factor", given_text, ["kernel", "residual"]))
    assert said.startswith("unknown factor ")
    assert said.endswith("known: kernel, residual")
    said = str(BlocksearchError(f"widths must be whole numbers, but got {given_text!r} at the end"))
    assert said.startswith("widths must be whole numbers, but got ")
    assert said.endswith("at the end")


@pytest.mark.parametrize("count", [1, 20, 27, 28, 40, 100])
def test_a_list_of_names_is_cut_between_names_if_at_all(count):
    names = [f"keyword_{number}" for number in range(count)]
    said = str(unknown("argument", "zzz", names, "; or none"))
    head, _, listed = said.removesuffix("; or none").partition("; known: ")
    assert head == "unknown argument 'zzz'"
    shown = listed.removesuffix(", …").split(", ")
    assert shown == names[: len(shown)]
    assert listed.endswith("…") == (len(shown) < count)
    meant = str(unknown("argument", "keyword_00", names))
    assert "did you mean 'keyword_0'?)" in meant
    assert meant.endswith(")" if count > 20 else names[-1])


@pytest.mark.parametrize("words", [150, 200, 215])
def test_a_long_path_is_shortened_before_a_sentence_of_ours_is(words):
    ours = ("is not there; a rule says so " * 20)[:words].strip()
    for path in ("/data" * 20, "/data" * 200):
        said = one_line(f"{path} {ours}: {path}")
        assert len(said) <= LONGEST
        assert f" {ours}: " in said
        assert said.startswith("/data/data/")
        assert said.endswith("/data")


ESCAPE = "\x1b]0;owned\x07\x9b2J\u202e"


@pytest.mark.parametrize(
    "arguments",
    [
        ["cost", ESCAPE],
        ["cost", f"kernel={ESCAPE}"],
        ["cost", "effnet", "--dataset", ESCAPE],
        ["cost", "effnet", "--widths", ESCAPE],
        ["cost", "effnet", "--classes", ESCAPE],
        ["cost", "effnet", f"--{ESCAPE}"],
        [ESCAPE],
        ["ablate", "--factor", ESCAPE],
        ["space", f"{ESCAPE}.py"],
        ["space", "tiny", "--budget", ESCAPE],
        ["pareto", f"{ESCAPE}.db"],
        ["show", "effnet", "--save", f"{ESCAPE}.html/a.html"],
        ["data", "check", ESCAPE],
        ["reproduce", "table5", "--data-root", ESCAPE],
        ["cost", ESCAPE * 1000],
        ["cost", " ".join(f"a{n}=" for n in range(5000))],
    ],
    ids=lambda words: ascii(" ".join(words))[:40],
)
def test_a_mistake_on_the_command_line_is_one_short_clean_line(
    monkeypatch, capsys, tmp_path, arguments
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["blocksearch", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith("blocksearch: ")
    assert printed.err.endswith("\n")
    assert one_line(printed.err) == printed.err[:-1]


CONFIGURATIONS = (RunConfig, AblationConfig, ScoresConfig, StudyConfig, GainConfig, StoppingRule)
NEEDED = {"factors": ("residual",), "trials": 1}
FIELDS = [(kind, each) for kind in CONFIGURATIONS for each in fields(kind)]


@pytest.mark.parametrize(
    ("kind", "field"), FIELDS, ids=[f"{kind.__name__}.{own.name}" for kind, own in FIELDS]
)
def test_a_value_of_a_wrong_type_is_one_line(kind, field):
    """In every field but the one whose values a factor reads when it is known."""
    needed = {own.name: NEEDED[own.name] for own in fields(kind) if own.default is MISSING}
    wrong = [object(), {"a": object()}, [object()], 1j]
    if field.name == "reference":  # a treatment may be a number, and is known by its text
        return
    for value in wrong if field.name != "values" else [wrong[0], wrong[1]]:
        with pytest.raises(ConfigError) as caught:
            kind(**{**needed, field.name: value})
        assert field.name.split("_")[0] in str(caught.value)
