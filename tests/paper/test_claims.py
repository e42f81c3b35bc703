"""The paper's claims as data: about what exists, and true of the paper's own tables."""

from decimal import Decimal

import pytest

from blocksearch.ablation.design import variants
from blocksearch.ablation.stats import Comparison, Verdict
from blocksearch.arch.zoo import NAMED, TASKS, named_network
from blocksearch.paper.claims import CLAIMS, OPERATIONS, Claim, claims_of, counted, pairs_among
from blocksearch.paper.tables import TABLES, printed_value

EFFNET = named_network("effnet", TASKS["gtsrb"])
BLOCKS = [claim for claim in CLAIMS if claim.factor != "network"]
BETWEEN = [claim for claim in CLAIMS if claim.factor == "network"]
# The paper's words, section by section, as it says them.
WORDS = {
    ("bottleneck", "reduce(4)"): "hurts",
    ("bottleneck", "reduce(8)"): "hurts",
    ("depth_multiplier", "2"): "helps",
    ("pooling", "stride"): "hurts",
    ("pooling", "first"): "hurts",
    ("residual", "add"): "hurts",
    ("groups", "last(4)"): "hurts",
    ("groups", "both(4)"): "hurts",
}
BETWEEN_OTHERS = {  # the same where the reference is not effnet's own value
    ("activation", "linear", "leaky", ""): "helps",
    ("activation", "leaky", "linear", ""): "hurts",
    ("pooling", "last", "stride", ""): "hurts",
    ("pooling", "last", "separable_end", ""): "helps",
    ("pooling", "separable_conv", "separable_end", ""): "hurts",
    ("residual", "none", "add", "bottleneck"): "lower",
    ("network", "baseline", "mobilenet", "widths"): "lower",
    ("network", "baseline", "shufflenet", "widths"): "lower",
}


@pytest.mark.parametrize(
    "claim", BLOCKS, ids=lambda claim: f"{claim.section} {claim.factor} {claim.value} {claim.given}"
)
def test_a_claim_is_of_a_variant_that_exists(claim):
    reference = EFFNET.with_factor(claim.factor, claim.reference)
    (found,) = [
        v for v in variants(reference, claim.factor, [claim.value]) if v.value == claim.value
    ]
    assert found.compared


@pytest.mark.parametrize(("factor", "value"), WORDS)
def test_a_claim_says_what_the_paper_says(factor, value):
    own = str(EFFNET.blocks[0].values()[factor])
    assert [claim.direction for claim in claims_of(factor, own, value)] == [WORDS[factor, value]]


@pytest.mark.parametrize("of", BETWEEN_OTHERS)
def test_a_claim_against_another_reference_says_what_the_paper_says(of):
    assert [claim.direction for claim in claims_of(*of)] == [BETWEEN_OTHERS[of]]


def test_separating_costs_half_a_point_or_almost_nothing():
    assert {claim.direction for claim in claims_of("kernel", "1x3+3x1", "3x3")} == {
        "within",
        "helps",
    }


@pytest.mark.parametrize(
    "claim",
    [c for c in BETWEEN if not c.given],
    ids=lambda claim: f"{claim.value} {claim.reference}",
)
def test_a_claim_between_networks_is_true_of_most_of_the_papers_tables(claim):
    assert {claim.reference, claim.value} <= set(NAMED)
    tables = [
        {row.network or "effnet_large": row.accuracy for row in rows} for _, rows in TABLES.values()
    ]
    both = [
        table[claim.value] > table[claim.reference]
        for table in tables
        if {claim.value, claim.reference} <= set(table)
    ]
    agreeing = sum(better == (claim.direction == "helps") for better in both)
    assert agreeing > len(both) / 2


@pytest.mark.parametrize(
    "claim", [c for c in OPERATIONS if c.factor == "network"], ids=lambda claim: f"{claim.value}"
)
def test_a_claim_about_flops_is_true_of_the_papers_tables(claim):
    for _, rows in TABLES.values():
        flops = {row.network: printed_value(row.flops) for row in rows}
        if {claim.value, claim.reference} <= set(flops):
            ratio = float(Decimal(flops[claim.value]) / Decimal(flops[claim.reference]))
            assert claim.stated(ratio).agreement == "agrees"


def test_claims_about_flops_are_counted_both_ways():
    assert counted("kernel", "3x3", "1x3+3x1", 0.8) == counted("kernel", "1x3+3x1", "3x3", 1 / 0.8)
    assert str(counted("kernel", "3x3", "1x3+3x1", 0.8)[0]).endswith("here -20%, agrees")
    assert str(counted("kernel", "3x3", "1x3+3x1", 1.0)[0]).endswith("here +0%, disagrees")
    assert counted("kernel", "3x3", "5x5", 3.0) == []
    as_many = [
        counted("pooling", "separable_end", "separable_conv", ratio)[0]
        for ratio in (0.94, 1.0, 1.06)
    ]
    assert [said.agreement for said in as_many] == ["disagrees", "agrees", "disagrees"]


@pytest.mark.parametrize("number", TABLES)
def test_a_claim_about_networks_is_held_against_the_sign_that_the_table_prints(number):
    """Text and tables do not agree everywhere, and it is the table that has figures."""
    accuracies = {row.network or "effnet_large": row.accuracy for row in TABLES[number][1]}
    held = 0
    for own in (claim for claim in CLAIMS if claim.factor == "network" and not claim.given):
        here = own.in_table(number)
        if not {own.value, own.reference} <= set(accuracies):
            assert here == own
            continue
        difference = accuracies[own.value] - accuracies[own.reference]
        sign = "helps" if difference > 0 else "hurts"
        other = "hurts" if difference > 0 else "helps"
        interval = {"helps": (0.5, 3.0), "hurts": (-3.0, -0.5)}
        assert here.stated(found(sign, interval[sign])).agreement == "agrees"
        assert here.stated(found(other, interval[other])).agreement == "disagrees"
        said = here.stated(None)
        assert said.text.startswith(own.words or own.direction)
        assert said.text.endswith(f"; its Table {number}: {difference:+.2f}")
        held += 1
    assert held >= 4


def test_the_paper_prints_that_two_of_its_claims_are_not_so():
    both = [
        (number, claim.value)
        for number in TABLES
        for claim in CLAIMS
        if claim.factor == "network"
        and not claim.given
        and claim.in_table(number).expected is not claim.direction
    ]
    assert both == [(7, "effnet_revised"), (7, "effnet_revised_2")]


def claim(direction):
    return Claim(section="3", factor="f", reference="a", value="b", direction=direction)


def found(verdict, interval, margin=0.5):
    return Comparison(
        seeds=(0, 1),
        reference=(50.0, 51.0),
        variant=(50.0, 51.0),
        margin=margin,
        verdict=Verdict(verdict),
        interval=interval,
    )


def test_a_verdict_agrees_with_a_claim_or_not():
    hurts, within = claim(Verdict.HURTS), claim(Verdict.WITHIN)
    said = [
        found("helps", (0.0, 3.0)),
        found("hurts", (-3.0, 0.0)),
        found("within", (-0.4, 0.2)),
        found("within", (-2.0, 0.2), margin=9.0),  # a user's margin moves no claim
        found("undecided", (-0.6, 0.2)),
        None,
    ]
    undecided = ["undecided"] * 3
    assert list(map(hurts.agreement, said)) == ["disagrees", "agrees", "disagrees", *undecided]
    assert list(map(within.agreement, said)) == ["disagrees", "disagrees", "agrees", *undecided]
    assert hurts.agreement(found("undecided", (-0.4, 0.2))) == "disagrees"  # of a smaller margin
    # A small effect that is certain is almost nothing, whichever way it goes.
    assert within.agreement(found("helps", (0.1, 0.3))) == "agrees"
    assert within.agreement(found("helps", (0.1, 0.6))) == "disagrees"
    assert claims_of("residual", "add", "none") == []


def test_networks_are_held_against_each_other_where_both_are_there():
    here = {row.network: EFFNET for row in TABLES[7][1]}
    found = {(pair.reference_value, pair.value) for pair in pairs_among(here)}
    assert found == {
        *((f"mobilenet_v2{rate}", f"effnet_revised{rate}") for rate in ("", "_4", "_2")),
        ("effnet_revised", "mob_imp"),
    }
