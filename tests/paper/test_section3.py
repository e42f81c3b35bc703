"""Section 3 from stored runs: what the shipped databases say, data set by data set."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from blocksearch.errors import ConfigError
from blocksearch.paper.claims import CLAIMS
from blocksearch.paper.section3 import claims_across, claims_shown, recorded, recorded_in
from blocksearch.runs.ledger import Ledger

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    shutil.copy(STUDIES / "gtsrb.db", folder)
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    ledger = Ledger(folder / "gtsrb.db", create=False)
    yield list(ledger.runs())
    ledger.close()


@pytest.fixture(scope="module")
def found(folder):
    locations = {name: [str(folder / f"{name}.db")] for name in ("gtsrb", "svhn")}
    return recorded_in(locations)


def test_a_file_that_is_not_there_is_not_made_and_its_data_set_not_run(folder, found):
    assert found["svhn"] is None
    assert not (folder / "svhn.db").exists()
    assert found["gtsrb"].title == "gtsrb: widths 8,16,32, 30 epochs"
    assert {row["svhn"] for row in claims_shown(found)} == {"not run"}
    with pytest.raises(ConfigError, match="unknown data set 'gtsr'"):
        recorded_in({"gtsr": [str(folder / "gtsr.db")]})


def test_every_claim_has_a_record_with_the_numbers_of_its_comparison(found):
    records = claims_across(found)
    assert len({tuple(record) for record in records}) == 1
    compared = {
        (variant.factor, variant.value, variant.reference_value, variant.role): []
        for variant in (own.variant for own in found["gtsrb"].results)
    }
    for own in (*found["gtsrb"].results, *found["gtsrb"].networks):
        variant = own.variant
        key = (variant.factor, variant.value, variant.reference_value, variant.role)
        compared.setdefault(key, []).append(own.comparison)
    for record in records:
        key = tuple(record[name] for name in ("factor", "value", "reference", "role"))
        assert (record["gtsrb_difference"], record["gtsrb_verdict"]) in [
            (own.difference, own.verdict) for own in compared[key] if own
        ]
        assert record["svhn_n"] is record["svhn_verdict"] is record["svhn_agreement"] is None
    said = {(record["section"], record["factor"], record["value"]) for record in records}
    claims = [claim for claim in CLAIMS if claim.given != "bottleneck" and claim.section < "5"]
    unsaid = {(c.section, c.factor, c.value) for c in claims} - said
    assert unsaid == {("3", "groups", "last(2)"), ("3", "groups", "both(2)")}  # not usual values


def test_two_networks_are_held_against_what_their_table_prints_as_the_table_does(found):
    """`reproduce table7` and the claims over data sets say the same of the same runs."""
    of_table = {own.variant.value: own for own in found["gtsrb"].networks}
    records = [each for each in claims_across(found) if each["value"] in of_table]
    assert len(records) == 4
    for record in records:
        own = of_table[record["value"]]
        assert f"its Table 7: {record['gtsrb_paper']:+.2f}" in own.statements[0].text
        assert record["gtsrb_agreement"] == own.statements[0].agreement
    assert "agrees" in {record["gtsrb_agreement"] for record in records}
    shown = {each["claim"]: each["gtsrb"] for each in claims_shown(found)}
    claim = "network effnet_revised_2 against mobilenet_v2_2"
    assert shown[claim] == "-1.39 hurts, agrees (paper -1.83)"


def said(found):
    return found.title, claims_across({"gtsrb": found})


def test_runs_on_other_data_are_left_out(runs, found):
    """The same networks on images with another digest, all of them wrong: no answer mixes them."""
    for kind in ("data", "recipe"):
        other = [
            replace(run, key=replace(run.key, **{kind: "other"}), accuracies=(1.0,))
            for run in runs
            if run.key.seed < 2
        ]
        for mixed in (recorded([*runs, *other], "gtsrb"), recorded([*other, *runs], "gtsrb")):
            assert said(mixed) == said(found["gtsrb"])


def test_of_as_many_runs_those_of_the_usual_schedule_speak(runs, found):
    usual, _ = Counter(run.key.recipe for run in runs).most_common(1)[0]
    short = [
        replace(run, key=replace(run.key, recipe="other"), epoch_to=3, accuracies=(1.0,))
        for run in runs
        if run.key.recipe == usual
    ]
    for mixed in (recorded([*runs, *short], "gtsrb"), recorded([*short, *runs], "gtsrb")):
        assert said(mixed) == said(found["gtsrb"])


def test_where_sections_were_run_in_other_ways_the_title_says_both(runs, found):
    tested = [replace(run, epoch_to=12) if run.key.protocol == "test" else run for run in runs]
    ways = "widths 8,16,32, 30 epochs; Section 6: widths 8,16,32, 12 epochs"
    assert recorded(tested, "gtsrb").title == f"gtsrb: {ways}"
    alone = recorded([run for run in runs if run.key.protocol == "test"], "gtsrb")
    assert [own.comparison for own in alone.networks] == [
        own.comparison for own in found["gtsrb"].networks
    ]
    assert not alone.results


def test_without_runs_nothing_is_said(runs):
    assert recorded([], "gtsrb") is None
    assert recorded(runs, "svhn") is None
    assert not recorded(runs, "gtsrb", number=7).results
