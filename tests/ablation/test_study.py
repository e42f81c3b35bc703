"""Ablations: which variants there are, and how runs become results."""

import re
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from blocksearch.ablation.config import AblationConfig, read_given
from blocksearch.ablation.design import ask, variants
from blocksearch.ablation.results import compare_variants
from blocksearch.ablation.study import Ablation, ablate
from blocksearch.ablation.variant import Role, Variant
from blocksearch.arch.factors import FACTORS
from blocksearch.arch.notation import parse
from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data.splits import Split
from blocksearch.errors import BlocksearchError, ConfigError, PluginError
from blocksearch.paper.claims import with_claims
from blocksearch.paper.section3 import conversions, section3
from blocksearch.paper.tables import TABLES, flops_cells, printed
from blocksearch.report.comparisons import ablation_report
from blocksearch.report.console import as_text, show
from blocksearch.runs.callback import Callback
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.plan import (
    Experiment,
    RunSettings,
    experiment,
    loaded,
    read_seeds,
    task_from,
)
from blocksearch.runs.provenance import mixture, sources
from blocksearch.runs.records import Run, RunState
from blocksearch.training.outcome import Divergence
from blocksearch.training.recipe import Recipe
from tests.data.test_data import write_gtsrb
from tests.made import made_images

EFFNET = named_network("effnet", TASKS["digits"])
IMAGES = made_images(count=50)
DIVERGED = Divergence(1, 3, float("inf"))
SHARED = Experiment(protocol=Split("digits"), recipe=Recipe(epochs=1), root=None, images=IMAGES)


def made_run(key, state, accuracies, *, divergence=None, reason="", right=None, provenance=None):
    return Run(
        key=key,
        epoch_to=1,
        state=state,
        reason=reason or str(divergence or ""),
        divergence=divergence,
        accuracies=accuracies,
        losses=accuracies,
        right=np.zeros(0, bool) if right is None else right,
        seconds=1.0,
        provenance=provenance or {},
    )


def made_up_runs(found, accuracy):
    """Runs as the ledger would hand them out; `accuracy(variant, seed)` is percent, or None for a
    diverged run.
    """
    runs = {}
    for variant in found:
        for seed in range(5):
            if variant.network:
                key = SHARED.job(variant.network, seed).key
                value = accuracy(variant, seed)
                runs[key] = (
                    made_run(key, RunState.DIVERGED, (), divergence=DIVERGED)
                    if value is None
                    else made_run(key, RunState.COMPLETE, (value,))
                )
    return runs


def config(seeds=5, **wishes):
    return AblationConfig(**{"factors": ("residual",), "seeds": seeds} | wishes)


def results(found, runs, seeds=5, **wishes):
    """What an ablation says that finds these runs."""
    return compare_variants(
        found,
        config(seeds, **wishes),
        lambda arm, seed: runs.get(SHARED.job(arm[0], seed).key),
    )


def records(*asked, **wishes):
    return [result.record() for result in results(*asked, **wishes)]


def test_the_reference_comes_first_and_every_value_is_there():
    found = variants(EFFNET, "residual")
    assert [v.value for v in found] == ["none", "add", "project", "concatenate"]
    assert [v.is_reference for v in found] == [True, False, False, False]


def test_a_reference_value_that_is_not_among_the_usual_ones_is_still_the_reference():
    found = variants(EFFNET.with_factor("bottleneck", "reduce(3)"), "bottleneck")
    assert found[0].value == "reduce(3)"
    assert len(found) == 5


def test_every_factor_of_every_named_network_can_be_asked_about_or_says_why_not():
    silent = set()
    for name in ("baseline", "effnet", "shufflenet", "mobilenet_v2"):
        for factor in (*FACTORS, "stem", "head"):
            try:
                assert all(
                    v.network or v.rule
                    for v in variants(named_network(name, TASKS["gtsrb"]), factor)
                )
            except ConfigError:
                silent.add((name, factor))
    assert ("effnet", "join_activation") in silent  # without a shortcut nothing is joined
    assert ("baseline", "depth_multiplier") in silent  # a dense block has no depthwise layer
    assert not {factor for _, factor in silent} & {"residual", "pooling", "kernel", "bottleneck"}


def test_values_that_break_a_rule_are_rows_with_the_rule():
    found = variants(named_network("baseline", TASKS["digits"]), "pooling")
    broken = [v for v in found if v.network is None]
    assert [v.value for v in broken] == ["separable_end", "separable_conv"]
    assert all("pools at the last pointwise layer" in v.rule for v in broken)


def test_effects_are_paired_and_priced():
    found = variants(EFFNET, "residual", ["project", "add"])
    bonus = {"none": 0.0, "project": 3.0, "add": 0.01}
    runs = made_up_runs(
        found,
        lambda v, seed: 60 + 5 * seed + bonus[v.value] + 0.02 * (seed - 2) * (not v.is_reference),
    )
    rows = {row["value"]: row for row in records(found, runs)}
    assert (rows["none"]["role"], rows["none"]["verdict"]) == ("reference", None)
    assert rows["project"]["verdict"] == "helps"
    assert rows["project"]["difference"] == pytest.approx(3.0)
    assert rows["project"]["flops_difference"] > 0
    assert (rows["add"]["verdict"], rows["add"]["margin"]) == ("within", 0.5)
    assert rows["add"]["flops_difference"] == 0
    assert set(rows["add"]) >= {
        *("factor", "value", "reference", "text", "flops", "params", "seeds"),
        *("accuracies", "difference", "interval_low", "p_value", "verdict"),
    }


def lost(seed):
    where = {"diverged_epoch": 1, "diverged_step": 3, "diverged_loss": "inf"}
    return {"seed": seed, "state": "diverged", "reason": str(DIVERGED)} | where


def test_diverged_seeds_are_shown_and_not_averaged():
    found = variants(EFFNET, "residual", ["add"])
    runs = made_up_runs(
        found, lambda v, seed: None if v.value == "add" and seed < 2 else 50.0 + seed * 3
    )
    row = records(found, runs)[1]
    assert row["seeds"] == [2, 3, 4]
    assert row["failures"] == [lost(0), lost(1)]


@pytest.mark.parametrize("diverged", [{4}, {1, 2, 3, 4}, {0, 4}])
@pytest.mark.parametrize("seeds", [5, "2..5"])
def test_a_failure_is_shown_wherever_it_is_among_the_seeds(seeds, diverged):
    found = variants(EFFNET, "residual", ["add"])
    noise = np.random.default_rng(0).normal(size=(2, 5))
    runs = made_up_runs(
        found,
        lambda v, s: (
            None if v.value == "add" and s in diverged else 50 + noise[int(v.is_reference), s]
        ),
    )
    reference, row = records(found, runs, seeds)
    assert row["seeds"] == sorted(set(range(5)) - diverged)
    assert row["failures"] == [lost(seed) for seed in sorted(diverged)]
    assert reference["seeds"] == list(range(5))


def test_what_completed_is_shown_where_its_reference_did_not():
    found = variants(EFFNET, "residual", ["add"])
    runs = made_up_runs(found, lambda v, seed: None if v.is_reference else 50.0 + seed)
    reference, row = records(found, runs)
    assert reference["seeds"] == []
    assert (row["verdict"], row["accuracies"]) == ("undecided", [50.0, 51.0, 52.0, 53.0, 54.0])


def test_a_variant_of_which_no_seed_completed_says_so():
    found = variants(EFFNET, "residual", ["add"])
    runs = made_up_runs(found, lambda v, seed: None if v.value == "add" else 50.0 + seed)
    row = records(found, runs)[1]
    assert (row["absence"], row["verdict"]) == ("no seed completed", None)
    assert row["difference"] is None


def test_a_variant_with_equal_layers_is_the_same_network():
    """On the narrowest stages of digits a minimum of 6 makes reduce(4) and reduce(8) alike, but not
    the reference.
    """
    found = variants(
        named_network("effnet", replace(TASKS["digits"], widths=(8, 12))), "bottleneck"
    )
    rows = records(found, made_up_runs(found, lambda v, seed: 50.0 + seed))
    assert {row["value"]: row["absence"] for row in rows}["reduce(4)"] == "same network"


def test_variants_of_one_network_are_one_comparison_of_the_family():
    """On widths 12,12,24 a minimum of 6 makes reduce(4) and reduce(8) alike."""
    effnet = named_network("effnet", replace(TASKS["digits"], widths=(12, 12, 24)))

    def rows(*values):
        found = variants(effnet, "bottleneck", values)
        return records(
            found,
            made_up_runs(found, lambda v, seed: 50.0 + seed * (1 + v.is_reference)),
        )

    _, _, twice = rows("reduce(4)", "reduce(8)")
    assert twice["rule"] == "the same networks as bottleneck reduce(4)"
    (once,) = rows("reduce(8)")[1:]
    measured = ("n", "difference", "interval_low", "p_value", "verdict", "smallest_effect")
    assert [twice[key] for key in measured] == [once[key] for key in measured]


def test_a_claim_is_not_held_against_a_network_that_is_the_reference():
    found = variants(
        named_network("effnet", replace(TASKS["digits"], widths=(12, 12, 12))),
        "bottleneck",
        ["reduce(4)", "none"],
    )
    rows = records(found, made_up_runs(found, lambda v, seed: 50.0 + seed))
    assert {row["value"]: row["absence"] for row in rows}["reduce(4)"] == "same network"
    assert [with_claims([result])[0].statements for result in results(found, {})][1] == ()


def test_the_references_own_value_alone_is_no_question():
    with pytest.raises(
        ConfigError, match="does not apply to this block: only its own value none is asked about"
    ):
        ask(EFFNET, config(values=["none"]))


def test_a_factor_without_other_values_says_so():
    with pytest.raises(ConfigError, match="it has no value but none, unless a space defines one"):
        ask(EFFNET, config(factors=["attention"]))


def test_what_was_compared_above_is_said_to_be_there():
    found = section3(replace(TASKS["cifar10"], widths=(16, 32, 64)), "cifar10")
    rows = records(found, made_up_runs(found, lambda v, seed: 50.0 + seed))
    again = [row for row in rows if row["rule"].startswith("the same")]
    assert [(row["given"], row["value"], row["rule"]) for row in again] == [
        ("minimum=1", "reduce(1)", "the same networks as bottleneck reduce(1) above")
    ]


def test_a_margin_decides_what_counts_as_equal():
    found = variants(EFFNET, "residual", ["add"])
    runs = made_up_runs(
        found, lambda v, seed: 50.0 + seed + (0.9 if seed % 2 else -0.7) * (v.value == "add")
    )
    row, wide = (records(found, runs, margin=margin)[1] for margin in (0.5, 5.0))
    assert (row["verdict"], wide["verdict"]) == ("undecided", "within")
    assert row["interval_low"] == wide["interval_low"]


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    """A folder of a few made-up signs."""
    folder = tmp_path_factory.mktemp("signs")
    write_gtsrb(folder)
    return folder


@pytest.fixture
def remembered(signs, tmp_path):
    """An ablation of which the ledger has every run, made on these devices in turn."""
    effnet = named_network("effnet", TASKS["gtsrb"])
    found = variants(effnet, "residual", ["add"])

    def ask_again(*devices, **wishes):
        ledger = str(tmp_path / f"{len(devices)}.db")
        settings = RunSettings(
            protocol=Split("gtsrb"), recipe=Recipe(epochs=1), root=signs, ledger=ledger, workers=1
        )
        shared = experiment(settings, effnet)
        with closing(Ledger(ledger)) as opened:
            for place, job in enumerate(shared.jobs([v.network for v in found], range(5))):
                seed, differs = job.key.seed, job.key.network != effnet.digest
                swing = (0.9 if seed % 2 else -0.7) if differs else 0.0
                run = made(
                    devices[place % len(devices)],
                    accuracy=50 + seed + swing,
                    key=job.key,
                    images=shared.images.evaluation,
                )
                opened.add_all([(job, run)])
        return ablate("effnet", found, config(**wishes), settings, Callback())

    return ask_again


def test_a_users_margin_is_kept_to_and_said(remembered):
    answers = [remembered("cpu", margin=margin) for margin in (0.5, 5.0)]
    assert [answer.comparisons[0].verdict for answer in answers] == ["undecided", "within"]
    assert ["margin ±5 points" in answer.title for answer in answers] == [False, True]


def test_runs_of_different_devices_are_flagged_and_refused_where_one_is_strict(remembered):
    assert "different kinds" not in remembered("cpu").title
    title = remembered("cpu", "H100").title
    assert (
        "runs of different kinds are compared: H100 with torch 2.13; cpu with torch 2.13" in title
    )
    with pytest.raises(ConfigError, match="strict: runs of different kinds"):
        remembered("cpu", "H100", strict=True)


def test_the_paper_says_nothing_of_rescaled_widths():
    asked = ask(EFFNET, config(factors=["depth_multiplier"], values=["2"], equal_flops=True))
    shown = with_claims(results(asked, made_up_runs(asked, lambda v, seed: 60.0 + seed)))
    assert [bool(result.statements) for result in shown] == [False, True, False, False]
    own, other = shown[0].cost, shown[1].cost
    row = shown[1].record()
    for quantity in ("flops", "params", "activations"):
        assert (
            row[f"{quantity}_difference"] == getattr(other, quantity) - getattr(own, quantity) > 0
        )


def test_names_and_texts_never_become_markup(capsys):
    found = results(variants(EFFNET, "residual", ["add"]), {})
    title = "[red]x[/red] [link=javascript:1]"
    show(ablation_report(Ablation(title=title, results=tuple(found), notes=())))
    assert "[red]x[/red] [link=javascript:1]" in capsys.readouterr().out


@pytest.mark.slow
def test_an_ablation_from_question_to_answer(signs, tmp_path):
    reference = named_network("effnet", replace(TASKS["gtsrb"], widths=(4, 6)))
    ledger = str(tmp_path / "a.db")
    settings = RunSettings(
        protocol=Split("gtsrb", images=100),
        recipe=Recipe(epochs=1, batch=50),
        root=signs,
        ledger=ledger,
        workers=2,
        device="cpu",
    )
    for _ in range(2):
        wanted = config((0, 1), values=["add"])
        answer = ablate("effnet", ask(reference, wanted), wanted, settings, Callback())
    assert answer.title.startswith("effnet, widths 4,6 instead of 8,16,32; gtsrb")
    assert [len(result.accuracies) for result in answer.results] == [2, 2]
    with closing(Ledger(tmp_path / "a.db")) as ledger:
        assert len(ledger.runs()) == 4
        assert ledger.reports() == []  # an answer is computed from its runs, not stored


@pytest.mark.parametrize(
    ("factor", "values", "says"),
    [
        ("residul", None, "unknown factor 'residul' (did you mean 'residual'?)"),
        (
            "residual",
            ["plus"],
            "residual must be none or add or project or concatenate, but got 'plus'",
        ),
        ("stem", ["pool"], "stem must be conv, block, or a convolution of its own such as conv("),
        (
            "join_activation",
            None,
            "factor join_activation does not apply to this block: every value gives the same "
            "layers",
        ),
    ],
)
def test_questions_that_cannot_be_asked(factor, values, says):
    with pytest.raises(BlocksearchError) as caught:
        variants(EFFNET, factor, values)
    assert says in str(caught.value)


def test_values_belong_to_one_factor():
    assert {v.factor for v in ask(EFFNET, config(factors=["all"]))} == {*FACTORS, "stem"}
    for factors in (["all", "residul"], ["residul"]):
        with pytest.raises(ConfigError, match="unknown factor 'residul'"):
            ask(EFFNET, config(factors=factors))
    with pytest.raises(ConfigError, match="one factor at a time"):
        ask(EFFNET, config(factors=["residual", "groups"], values=["none"]))


@pytest.mark.parametrize(
    ("text", "seeds"), [("5", (0, 1, 2, 3, 4)), ("0,3,7", (0, 3, 7)), ("4,", (4,)), ("1", (0,))]
)
def test_seeds_are_a_count_or_a_list(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["0", "-1", "a", "1,,2", "1.5", "3,3", ""])
def test_seeds_that_are_neither(text):
    with pytest.raises(ConfigError, match="seeds must be"):
        read_seeds(text)


def test_networks_from_names_changes_and_texts():
    task = TASKS["digits"]
    changed = parse("effnet residual=add stem=conv", task)
    assert changed.blocks[0].residual == "add"
    assert changed.stem == "conv"
    assert parse("bottleneck=2 minimum=6 kernel=1x3+3x1 pooling=separable_conv", task) == EFFNET
    assert parse("input=3x9x9 widths=5 classes=3 [kernel=3x3]", task).task.classes == 3
    for text, says in (
        ("efnet", "did you mean 'effnet'"),
        ("effnet residul=add", "did you mean 'residual'"),
        ("", "unknown network"),
    ):
        with pytest.raises(BlocksearchError, match=says):
            parse(text, task)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("mnist",), "unknown data set 'mnist'"),
        (("digits", "8,x"), "widths must be whole numbers such as 64,128,256, but got '8,x'"),
        (("digits", None, "32x32"), "input must be channels x height x width"),
        (("digits", None, None, 1), "classes=1"),
    ],
)
def test_settings_that_cannot_be(arguments, says):
    with pytest.raises(BlocksearchError, match=says):
        task_from(*arguments)


def test_31_of_33_distinct_cells_match_and_the_two_others_are_known():
    cells = flops_cells()
    distinct = {(c.dataset, c.network): c for c in cells if c.matches is not None}
    assert len(distinct) == 33
    assert {key for key, c in distinct.items() if not c.matches} == {
        ("cifar10", "effnet"),
        ("svhn", "mob_imp"),
    }
    assert [c.flops for c in cells if c.network == "baseline"] == [
        80_347_136,
        3_563_520,
        2_326_528,
    ] * 2
    assert [c.flops_actual for c in cells if c.network == "baseline"] == [
        79_118_336,
        3_333_120,
        1_666_048,
    ] * 2
    assert distinct["cifar10", "effnet"].difference == 11_280_384 - 11_400_000


def test_every_row_of_the_tables_is_a_cell():
    assert len(flops_cells()) == sum(len(rows) for _, rows in TABLES.values()) == 39
    assert printed(1_234_567, "9.9k") == "1,234.6k"
    assert printed(16_450_000, "9.9M") == "16.5M"


def test_of_all_factors_those_that_do_not_apply_are_rows():
    """attention first: a family may begin with a row that has no reference."""
    network = named_network("effnet", replace(TASKS["digits"], widths=(4, 6)))
    asked = ask(network, config(factors=["attention", "residual"]))
    rows = records(asked, made_up_runs(asked, lambda v, seed: 50.0 + seed))
    assert [(row["factor"], row["role"], row["absence"]) for row in rows[:2]] == [
        ("attention", "variant", "does not apply"),
        ("residual", "reference", None),
    ]
    assert rows[0]["rule"] == "it has no value but none, unless a space defines one"
    assert rows[2]["flops_difference"] == 0
    with pytest.raises(
        ConfigError, match="none of the factors applies to this block: attention, last"
    ):
        ask(network, config(factors=["attention", "last"]))


def test_variants_are_asked_about_again_at_equal_flops_which_fill_the_references():
    network = named_network("effnet", replace(TASKS["digits"], widths=(8, 12)))
    asked = ask(network, config(factors=["bottleneck"], equal_flops=True))
    found = results(asked, {})
    plain = [result for result in found if not result.variant.given]
    assert [result.variant.value for result in plain] == [
        "reduce(2)",
        "reduce(1)",
        "reduce(4)",
        "reduce(8)",
    ]
    reference, *others = [result for result in found if result.variant.given == "equal FLOPs"]
    assert reference.variant.is_reference
    assert [result.variant.value for result in others] == [
        "reduce(1)"
    ]  # with six channels at least, the others cost the same
    for result in others:
        network = result.variant.network
        wider = replace(network, widths=tuple(width + 1 for width in network.widths))
        assert result.cost.flops <= reference.cost.flops < wider.cost.flops
        assert (
            result.variant.shown.startswith(f"{result.variant.value} at ")
            or not result.variant.compared
        )


def test_a_question_given_another_factor_compares_within_each_of_its_values():
    network = named_network("effnet", replace(TASKS["digits"], widths=(16, 20)))
    asked = ask(network, config(values=["add"], given=("bottleneck", ["2", "4"])))
    assert [(v.given, v.is_reference) for v in asked] == [
        *(
            ("bottleneck=reduce(2)", True),
            ("bottleneck=reduce(2)", False),
            ("bottleneck=reduce(4)", True),
            ("bottleneck=reduce(4)", False),
            ("bottleneck=reduce(4) − reduce(2)", False),
        )
    ]
    assert asked[3].network == network.with_factor("bottleneck", "reduce(4)").with_factor(
        "residual", "add"
    )
    noise = np.random.default_rng(0).normal(size=(len(asked), 5))
    runs = made_up_runs(asked[:4], lambda v, seed: 60 + noise[asked.index(v), seed])
    found = results(asked, runs)
    for reference, variant in (found[:2], found[2:4]):
        differences = [variant.accuracies[s] - reference.accuracies[s] for s in range(5)]
        assert variant.comparison.difference == pytest.approx(sum(differences) / 5)
        assert variant.reference_cost == reference.cost
    apart = found[4].comparison
    assert apart.difference == pytest.approx(
        found[3].comparison.difference - found[1].comparison.difference
    )
    assert found[4].record()["role"] == Role.INTERACTION
    assert (found[4].cost, found[4].curves) == (None, {})
    answer = Ablation(title="t", results=tuple(found), notes=())
    lines = as_text(ablation_report(answer)).splitlines()
    titles = [line for line in lines if re.match(r"t\b|given|how far", line)]
    assert titles == [
        *("t", "given bottleneck=reduce(2)", "given bottleneck=reduce(4)"),
        "how far the effects differ, bottleneck=reduce(4) − reduce(2)",
    ]


@pytest.mark.parametrize("first", [2, 8])
def test_an_interaction_compares_two_effects_and_its_claim_is_of_the_smaller_network(first):
    """A shortcut that costs 4 points more where channels are an eighth is the paper's claim,
    whichever effect comes first.
    """
    asked = ask(
        EFFNET.with_factor("bottleneck", f"reduce({first})"),
        config(values=["add"], given=read_given("bottleneck=2,8")),
    )

    def accuracy(variant, seed):
        hurts = (
            1 + 0.1 * (seed % 2) if variant.given.endswith("reduce(2)") else 5 + 0.1 * (seed % 3)
        )
        return 80.0 + seed % 3 - (0 if variant.is_reference else hurts)

    found = with_claims(results(asked, made_up_runs(asked[:4], accuracy)))
    effects = {2: -1.04, 8: -5.08}
    assert found[1].comparison.difference == pytest.approx(effects[first])
    assert found[4].comparison.difference == pytest.approx(effects[10 - first] - effects[first])
    assert found[4].comparison.verdict == ("lower" if first == 2 else "higher")
    assert list(map(str, found[4].statements)) == [
        f"Section 3: {found[4].comparison.verdict}, agrees"
    ]


def test_an_interval_of_two_wild_seeds_stays_among_possible_differences():
    found = variants(EFFNET, "residual", ["add"])
    runs = made_up_runs(
        found, lambda v, seed: 50.0 if v.is_reference else 50.0 + 25 * (-1) ** seed + seed
    )
    _, row = records(found, runs, seeds=2)
    assert (row["interval_low"], row["interval_high"]) == (-100.0, 100.0)


def test_a_value_given_twice_is_no_interaction():
    asked = ask(EFFNET, config(values=["add"], given=("bottleneck", [2, 2])))
    assert [(variant.given, variant.minus) for variant in asked] == [
        ("bottleneck=reduce(2)", None)
    ] * 2


def test_networks_are_converted_at_two_widths():
    found = conversions(TASKS["gtsrb"], "gtsrb")
    assert [(v.given, v.value, v.minus is not None) for v in found] == [
        *(("widths=8,16,32", name, False) for name in ("baseline", "mobilenet", "shufflenet")),
        *(("widths=4,8,16", name, False) for name in ("baseline", "mobilenet", "shufflenet")),
        *(("widths=4,8,16 − 8,16,32", name, True) for name in ("mobilenet", "shufflenet")),
    ]
    assert all(v.network == named_network(v.value, v.network.task, dataset="gtsrb") for v in found)
    assert found[-1].minus == found[2]
    assert {len({n.digest for n in v.networks}) for v in found if v.minus} == {4}


def test_section_3_is_asked_with_the_papers_own_references():
    found = section3(TASKS["gtsrb"], "gtsrb")
    asked = {(v.given, v.factor, v.value) for v in found if v.compared}
    assert asked >= {("minimum=1", "bottleneck", f"reduce({k})") for k in (1, 4, 8)}
    assert asked >= {
        ("pooling=last", "pooling", "stride"),
        ("pooling=last", "pooling", "separable_end"),
    }
    assert ("activation=linear", "activation", "leaky") in asked
    hidden = {
        v.given: v.channels for v in found if (v.factor, v.value) == ("bottleneck", "reduce(8)")
    }
    assert hidden == {"": (6, 6, 6), "minimum=1": (1, 2, 4)}
    assert {
        v.reference.blocks[0].values()["pooling"] for v in found if v.given == "pooling=last"
    } == {"last"}


@pytest.mark.parametrize("seeds", [5, "2..5"])
def test_a_rows_accuracies_are_those_its_effect_was_judged_by(seeds):
    """Some comparisons are decided at once and others never, of networks they share; the reference
    lacks a seed.
    """
    listed = conversions(TASKS["gtsrb"], "gtsrb")
    networks = {n.digest: n for v in listed for n in v.networks}
    shared = [
        Variant(factor="f", value=str(k), network=n, reference=n, reference_value="")
        for k, n in enumerate(networks.values())
    ]
    noise = np.random.default_rng(0).normal(size=(9, 5))

    def accuracy(variant, seed):
        place = int(variant.value)
        return (
            None
            if (place, seed) == (0, 1)
            else 90 - 8.0 * (place % 3 == 1) + (0.01 if place < 2 else 2) * noise[place, seed]
        )

    runs = made_up_runs(shared, accuracy)
    found = results(listed, runs, seeds)
    assert seeds == 5 or len({own.comparison.n for own in found if own.comparison}) > 1
    for result in found:
        if own := result.comparison:
            assert tuple(result.accuracies) == own.seeds
            assert list(result.accuracies.values()) == list(own.variant)
            means = [np.mean(each) for each in (own.reference, own.variant)]
            assert own.difference == pytest.approx(means[1] - means[0])


def test_a_factor_is_not_asked_about_under_its_own_values():
    asked = ask(EFFNET, config(factors=["all"], given=("bottleneck", [2, 4])))
    assert "bottleneck" not in {variant.factor for variant in asked}
    with pytest.raises(ConfigError, match="given residual is the factor that is varied"):
        ask(EFFNET, config(given=("residual", ["none", "add"])))


def test_a_factor_that_is_idle_under_one_given_value_is_a_row_there():
    idle, *others = ask(EFFNET, config(factors=["minimum"], given=("bottleneck", [1, 8])))
    assert (idle.network, idle.rule) == (None, "every value gives the same layers")
    assert [variant.given for variant in others] == ["bottleneck=reduce(8)"] * 2


def test_a_value_asked_for_twice_is_compared_once():
    assert [v.value for v in variants(EFFNET, "bottleneck", ["reduce(4)", "reduce(4)"])] == [
        "reduce(2)",
        "reduce(4)",
    ]


def test_blocks_that_differ_in_a_factor_are_no_value_of_it():
    network = named_network("effnet_revised", TASKS["cifar10"], dataset="cifar10")
    reference, *others = variants(network, "pooling")
    assert reference.value == "separable, then first"
    assert {"separable", "first"} <= {v.value for v in others if v.compared}


def test_a_users_options_are_among_a_factors_values(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from blocksearch import op\n\n\n"
        "@op('activation')\ndef soft(entry):\n    return ()\n\n\n"
        "@op('activation')\ndef needy(entry, slope):\n    return ()\n"
    )
    space = loaded([tmp_path / "mine.py"])
    found = ask(EFFNET, config(factors=["activation"]), space)
    assert {v.value for v in found} == {
        *("relu", "leaky", "linear", "mine.soft()")  # the other one needs a parameter
    }


def made(device, torch="2.13.0", *, accuracy=50.0, key=None, images=2):
    provenance = {
        "device": device,
        "torch": torch,
        "blocksearch": "1",
        "commit": "c",
        "date": "2026-01-01T00:00:00",
    }
    key = key or SHARED.job(EFFNET, 0).key
    bits = np.zeros(images, bool)
    return made_run(key, RunState.COMPLETE, (accuracy,), right=bits, provenance=provenance)


def test_runs_of_different_kinds_are_flagged_and_refused_where_that_is_asked_for():
    alike = [made("cpu", "2.13.0+cpu"), made("cpu", "2.13.1")]
    assert mixture(alike, strict=True) == ""
    others = [*alike, made("H100", "2.13.0")], [*alike, made("cpu", "2.12.0")]
    for runs, said in zip(others, ("H100 with torch 2.13", "cpu with torch 2.12"), strict=True):
        assert said in mixture(runs)
        with pytest.raises(ConfigError, match="strict: runs of different kinds"):
            mixture(runs, strict=True)
    assert (
        sources(alike)
        == "2 runs: blocksearch 1, commits c, torch 2.13.0+cpu, 2.13.1, on cpu, 2026-01-01, "
        "of images digits dddddddddddd"
    )


def test_a_stem_as_a_block_saves_what_the_paper_says_on_cifar10():
    """Counted by hand: 27·64·1024 multiplications against 3·32·1024 + 3·32·1024 + 3·32·512 +
    2·32·64·256.
    """
    network = named_network("effnet", TASKS["cifar10"])
    listed = ask(network, config(factors=["stem"]))
    _, plain = with_claims(results(listed, made_up_runs(listed, lambda *_: 70.0), seeds=2))
    assert round(1_294_336 / 1_769_472 - 1, 2) == -0.27
    assert str(plain.statements[0]) == (
        "Section 3: block saves about 30% of the first layer, here -27%, agrees"
    )
    thin = ask(
        named_network("effnet", replace(TASKS["cifar10"], widths=(16, 32, 64))),
        config(factors=["stem"]),
    )
    _, plain = with_claims(results(thin, made_up_runs(thin, lambda *_: 70.0), seeds=2))
    assert str(plain.statements[0]) == (
        "Section 3: block saves about 30% of the first layer, here -71%, disagrees"
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "bottleneck",
            "given must name a factor and values such as bottleneck=2,4,8, but got 'bottleneck'",
        ),
        ("milk=2", "unknown factor 'milk'"),
        ("last=none", "given last=none: last=none needs spatial=dense"),
    ],
)
def test_a_given_that_is_none_is_refused(text, says):
    with pytest.raises(BlocksearchError, match=re.escape(says)):
        ask(EFFNET, config(values=["add"], given=read_given(text)))


def test_an_operation_that_fails_ends_the_question_and_is_no_row(tmp_path):
    """Also beside a factor that does apply: a mistake in a user's file is not a rule of a block."""
    (tmp_path / "bad.py").write_text(
        "from blocksearch import op\n\n\n"
        "@op('attention')\ndef broken(entry):\n    return entry.no_such_thing\n"
    )
    space = loaded([tmp_path / "bad.py"])
    with pytest.raises(PluginError, match=r"no_such_thing.*bad\.py"):
        ask(EFFNET, config(factors=["residual", "attention"]), space)
    with pytest.raises(PluginError, match="no_such_thing"):
        ask(EFFNET, config(given=("attention", ["none", "bad.broken()"])), space)
