"""A member of an enum is handled wherever its kind is: one that nobody names, or that a table by
members leaves out, fails.
"""

import ast
import re
from collections.abc import Iterator
from enum import Enum
from functools import cache
from importlib import import_module

import pytest

from tests.test_house import MODULES, PACKAGE

TEXTS = {module: (PACKAGE / f"{module}.py").read_text() for module in MODULES}
TREES = {module: ast.parse(text) for module, text in TEXTS.items()}


def enums() -> dict[str, type[Enum]]:
    """Every enum of the package by its name, which is a class of one module alone."""
    found = {}
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and "Enum" in "".join(map(ast.unparse, node.bases)):
                place = import_module(f"blocksearch.{module.replace('/', '.')}")
                found[node.name] = getattr(place, node.name)
    return {name: own for name, own in found.items() if issubclass(own, Enum)}


ENUMS = enums()


def about(own: type[Enum]) -> list[ast.Module]:
    """The modules in which the enum's name stands."""
    return [tree for module, tree in TREES.items() if own.__name__ in TEXTS[module]]


@cache
def compared(tree: ast.AST) -> list[ast.Compare]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]


def named(node: ast.AST, own: type[Enum]) -> str | None:
    """The member of an enum that an expression is, if so."""
    if isinstance(node, ast.Attribute) and ast.unparse(node.value).split(".")[-1] == own.__name__:
        return node.attr
    return None


def outside(tree: ast.AST, own: type[Enum]) -> Iterator[ast.AST]:
    """What stands outside of the enum's own definition."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.ClassDef) and node.name == own.__name__):
            yield node
            yield from outside(node, own)


def never_named(own: type[Enum]) -> set[str]:
    nodes = [node for tree in about(own) for node in outside(tree, own)]
    return set(own.__members__) - {named(node, own) for node in nodes}


def left_out(own: type[Enum]) -> list[set[str]]:
    """Members that tables by members leave out, where they have two keys or more."""
    found = []
    for tree in about(own):
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict) and len(node.keys) > 1:
                keys = {named(key, own) for key in node.keys if key}
                if keys and None not in keys:
                    found.append(set(own.__members__) - keys)
    return [each for each in found if each]


def passed_over(own: type[Enum]) -> list[str]:
    """Matches that leave members to a default, and functions that ask for one after another."""
    found = []
    for tree in about(own):
        for node in ast.walk(tree):
            if isinstance(node, ast.Match):
                inside = {
                    named(part, own) for case in node.cases for part in ast.walk(case.pattern)
                }
                if inside - {None} and inside - {None} != set(own.__members__):
                    found.append(ast.unparse(node.subject))
            elif isinstance(node, ast.FunctionDef) and len(asked_for(node, own)) > 1:
                found.append(node.name)
    return found


def asked_for(function: ast.FunctionDef, own: type[Enum]) -> set[str]:
    """Members that conditions of a function ask for, each where it ends or chooses something."""
    tests = [node.test for node in ast.walk(function) if isinstance(node, ast.If | ast.IfExp)]
    sides = [
        side
        for test in tests
        if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Is | ast.Eq)
        for side in test.comparators
    ]
    return {name for side in sides if (name := named(side, own))}


def kept_in(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Names of fields and properties, each with a word of what it is annotated as."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            name, kind = ast.unparse(node.target), node.annotation
        elif isinstance(node, ast.FunctionDef) and node.returns:
            name, kind = node.name, node.returns
        else:
            continue
        yield from ((name, word) for word in re.findall(r"\w+", ast.unparse(kind)))


KEPT = {each for tree in TREES.values() for each in kept_in(tree)}


def told_by_text(tree: ast.AST, own: type[Enum], kept: set[tuple[str, str]]) -> list[str]:
    """Comparisons of what keeps a member, or of its place in a row, with the text of a member."""
    texts, found = {each.value for each in own}, []
    for node in compared(tree):
        sides = [node.left, *node.comparators]
        names = {getattr(side, "attr", None) for side in sides} | {
            side.slice.value
            for side in sides
            if isinstance(side, ast.Subscript) and isinstance(side.slice, ast.Constant)
        }
        plain = [each.value for side in sides for each in constants(side)]
        if any((name, own.__name__) in kept for name in names) and texts & {*plain}:
            found.append(ast.unparse(node))
    return found


def constants(side: ast.AST) -> list[ast.Constant]:
    """The constants that a side of a comparison is, or lists."""
    each = side.elts if isinstance(side, ast.Tuple | ast.List | ast.Set) else [side]
    return [own for own in each if isinstance(own, ast.Constant)]


@pytest.mark.parametrize("own", ENUMS.values(), ids=ENUMS)
def test_every_member_is_named_where_it_is_used_and_no_table_leaves_one_out(own):
    assert never_named(own) == set()
    assert left_out(own) == []
    assert passed_over(own) == []
    assert [found for tree in TREES.values() for found in told_by_text(tree, own, KEPT)] == []


def test_a_new_member_fails():
    more = Enum("Verdict", [*ENUMS["Verdict"].__members__, "BETTER"])
    assert never_named(more) == {"BETTER"}
    assert left_out(more) == [{"BETTER"}]
    assert "own.verdict" in passed_over(more)
    assert len(ENUMS) > 15


def test_a_comparison_with_a_text_fails():
    wrong = ("run.state == 'failed'", "run.state in ('x', 'failed')", "row['state'] != 'failed'")
    right = ("run.state is RunState.FAILED", "run.state == 'other'", "run.name == 'failed'")
    found = [told_by_text(ast.parse(each), ENUMS["RunState"], KEPT) for each in (*wrong, *right)]
    assert found == [*([each] for each in wrong), [], [], []]
