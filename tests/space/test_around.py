"""What a space varies around its blocks: stem, head, input, and width, depth and stride of stages.
Each is in every reading of the space.
"""

import pytest

import blocksearch as bs
from blocksearch import Grammar, Shape, Task
from blocksearch.errors import SpecError

STAGE = {"width": [4, 8], "depth": [1, 2], "stride": [1, 2]}
AROUND = {
    "stem": ["block", "conv(kernel=3,stride=1,width=3)"],
    "head": ["flatten", "global_pool"],
    "resolution": [16, (12, 20)],
    "channels": [3, 1],
    "depth": [1, 2],
    "widths": [(4, 8), (8, 8)],
    **{f"stages {name}": [STAGE | {name: values[:1]}, STAGE] for name, values in STAGE.items()},
}


@pytest.mark.parametrize("name", AROUND)
def test_every_choice_around_the_blocks_is_in_every_reading(name):
    """One option or two of it are two spaces in count, price, codes, text, call and data."""
    task, listed = Task(input=Shape(3, 16, 16), classes=5, widths=(4, 8)), AROUND[name]
    word = name.split()[0]

    def space(options):
        return Grammar(task, **{word: options}, residual=["none", "add"])

    few = space([listed[0], {"width": 8}]) if word == "stages" else space(listed[:1])
    many = space([listed[1], {"width": 8}]) if word == "stages" else space(listed)
    made = [many[index] for index in range(len(many))]
    assert len({each.digest for each in made}) == len(many) > len(few)
    assert {each.digest for each in few} < {each.digest for each in made}
    assert many.costs().flops.tolist() == [each.cost.flops for each in made]
    assert many.costs().params.tolist() == [each.cost.params for each in made]
    assert [many.index(each) for each in made] == list(range(len(many)))
    codes = [many.encoding.encode(many.enumeration.genotype_of(each)) for each in made]
    assert len(set(codes)) == len(made)
    if word not in ("stages", "depth"):  # any network is read as one block that halves in a stage
        assert [many.encoding.encode_network(each) for each in made] == codes
    for own in (few, many):
        assert eval(repr(own), vars(bs) | {"Task": Task, "Shape": Shape}) == own
    assert str(few) != str(many)
    outside = next(each for each in made if each not in few)
    if word in ("stem", "head"):
        assert few.why_not(outside).startswith(f"{word}={getattr(outside, word)} is none of ")
    assert few.why_not(outside)
    assert bs.parse(str(outside)) == outside


@pytest.mark.parametrize("name", ["stem", "head", "resolution", "channels"])
def test_too_many_layouts_are_refused_whichever_choice_makes_them(name):
    stages = [{"width": list(range(1, 1 + count))} for count in (100, 50, 30)]
    task = Task(input=Shape(3, 16, 16), classes=5)
    Grammar(task, stages=stages, **{name: AROUND[name][:1]})
    with pytest.raises(SpecError, match="has 300,000 combinations, but may have 200,000"):
        Grammar(task, stages=stages, **{name: AROUND[name]})


@pytest.mark.parametrize("name", [each for each in AROUND if " " not in each])
def test_a_choice_that_is_not_listed_has_the_usual_option(name):
    task, ways = Task(input=Shape(3, 16, 16), classes=5, widths=(4, 8)), {"residual": ["none"]}
    usual, whole = Grammar(task, **ways), Grammar(task, **{name: AROUND[name]}, **ways)
    first, other = AROUND[name]
    assert list(usual.restrict(**{name: [first]})) == list(usual)
    with pytest.raises(SpecError):
        usual.restrict(**{name: [other]})
    both = usual.extend(**{name: [other]})
    assert {each.digest for each in both} == {each.digest for each in whole}
    assert list(both.restrict(**{name: [first]})) == list(usual)
