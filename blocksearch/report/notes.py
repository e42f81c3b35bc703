"""Writes the notes under a table of comparisons, which say how to read its numbers."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, TypeVar

from blocksearch.ablation.stats import Verdict
from blocksearch.runs.metrics import ALPHA

if TYPE_CHECKING:  # only to describe arguments: their modules load scipy
    from blocksearch.ablation.images import OtherImages
    from blocksearch.ablation.results import VariantResult
    from blocksearch.ablation.stats import Comparison
    from blocksearch.runs.questions import Question, QuestionHistory

Seed = TypeVar("Seed", int, int | str)
TOGETHER = (
    "all intervals here cover together in 95 % of answers, and in at least 90 % where one ends at "
    "zero"
)


def column_notes(results: "Sequence[VariantResult]") -> dict[str, str]:
    """Explain columns that are not shown everywhere, by their names."""
    compared = [own for each in results if (own := each.comparison) and own.n >= 2]
    found = {
        "other_images": elsewhere_note([each.elsewhere for each in results]),
        "p_sign_flip": sign_flip_note(compared),
    }
    return {name: text for name, own in found.items() for text in own}


def comparison_notes(results: "Sequence[VariantResult]") -> list[str]:
    """Say what the numbers are, and what they cannot say."""
    compared = [each.comparison for each in results if each.comparison]
    if not any(own.n >= 2 for own in compared):
        return []
    lost = (
        "verdicts are about the seeds that both networks completed; runs that did not are not "
        "missing at random"
    )
    return [
        units_note(compared),
        *few_seeds_note(compared),
        *moderation_note(compared),
        *_over_splits(compared),
        *unseen_note(compared),
        *([lost] if any(each.failed for each in results) else []),
    ]


def units_note(
    compared: "Sequence[Comparison]", units: str = "percentage points over the paired seeds"
) -> str:
    """Say what differences count, and how sure intervals are together, if there are any."""
    said = f"difference: {units}"
    return f"{said}; {TOGETHER}" if any(own.interval for own in compared) else said


def sign_flip_note(compared: "Sequence[Comparison]") -> list[str]:
    """Say how small a sign-flip p can be at all."""
    least = {own.n: p for own in compared if (p := own.p_sign_flip_smallest) is not None}
    bounds = ", ".join(f"{p:.2g} at {n}" for n, p in sorted(least.items()))
    said = f"sign-flip p: exact, unadjusted; its least value by the number of seeds is {bounds}"
    return [said] if least else []


def few_seeds_note(compared: "Sequence[Comparison]") -> list[str]:
    """Say that two seeds are few, where a comparison has no more."""
    return ["two seeds say little; take 3 or more"] if any(own.n == 2 for own in compared) else []


def undecided_needs(
    own: "Comparison | None", both: str = "complete", most: float = 100
) -> list[str]:
    """Say what an undecided comparison lacks: seeds, spread, or the size of an effect that so many
    seeds decide with 80 % power, if there are three or more and it is within `most`.
    """
    if own is None or own.verdict is not Verdict.UNDECIDED:
        return []
    if own.n < 2:
        return [f"a comparison needs two seeds that both {both}"]
    least = own.decides if own.n > 2 else None
    told = [f"{own.n} seeds show ±{_two_digits(least)} or more"] if least and least <= most else []
    return told + (["no interval: the seeds have no spread"] if own.interval is None else [])


def _two_digits(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def _over_splits(compared: "Sequence[Comparison]") -> list[str]:
    """Say what verdicts over several validation splits are about."""
    counts = {len(own.by_split) for own in compared if own.by_split}
    if not counts:
        return []
    return [
        f"verdicts are over seeds and {max(counts)} validation splits: about these images, split "
        "again; splits share images and are no independent draws, so what they differ by counts "
        "for more (Nadeau and Bengio 2003)"
    ]


def collapse_remark(
    seeds: Sequence[Seed],
    accuracies: Mapping[Seed, float],
    write: Callable[[float], str] = "{:.1f} %".format,
) -> list[str]:
    """Say which runs of a network lie far below its others."""
    if not seeds:
        return []
    shown = ", ".join(f"seed {seed} at {write(accuracies[seed])}" for seed in seeds)
    return [f"collapsed, against a median of {write(median(accuracies.values()))}: {shown}"]


def unseen_note(compared: "Sequence[Comparison]", what: str = "network") -> list[str]:
    """Say what share of a network's runs may collapse, or diverge, without being seen."""
    from blocksearch.ablation.collapse import unseen  # not before its numbers are there

    least = min((own.n for own in compared if own.n >= 2), default=0)
    if not least:
        return []
    return [
        f"a {what} of which no run collapsed here may collapse in up to {unseen(least):.0%} of its "
        f"runs: {least} seeds cannot exclude it (95 %)"
    ]


ONE_IN = {2: 12, 3: 9, 4: 7}  # series of so many questions decide falsely; of more, one in five


def looks_notes(asked: "QuestionHistory | None", results: "Sequence[VariantResult]") -> list[str]:
    """Say which look at the same runs an answer is, its p-values if all are counted, and which
    verdicts they would undo.
    """
    if asked is None:
        return []
    unkept = [f"this question is not remembered: {asked.unkept}"] if asked.unkept else []
    if asked.count == 1:
        return unkept
    k, others = asked.count, "; ".join(map(_question, asked.others))
    named = [
        (" ".join(filter(None, (own.given, own.factor, own.value))), each.comparison)
        for each in results
        for own in (each.variant,)
    ]
    return [
        f"question {asked.number} of {k} about these runs (the other{'s' * (k > 2)}: {others}); "
        f"{counted(k, named)}; new seeds are a new question",
        *unkept,
    ]


def counted(looks: int, named: "Sequence[tuple[str, Comparison | None]]") -> str:
    """Say what several looks at the same runs make of p-values, and which verdicts they undo."""
    undone = ", ".join(
        name
        for name, own in named
        if own and own.verdict.differs and (own.counted(looks) or 0) >= ALPHA
    )
    said = f"undecided is then {undone}" if undone else "no verdict changes"
    return (
        f"counted over all, each p is {looks} times what is printed, and one below "
        f"{ALPHA / looks:.2g} decides; {said}; "
        f"if they were not counted, one such series in {ONE_IN.get(looks, 5)} would decide a "
        "difference that does not exist"
    )


def looks(asked: "QuestionHistory | None") -> dict[str, object]:
    """Say which look an answer is and how many there are, for files."""
    return {"question": asked and asked.number, "questions": asked and asked.count}


def _question(own: "Question") -> str:
    seeds = own.seeds
    first, last = min(seeds), max(seeds)
    dense = len(seeds) == last - first + 1 and len(seeds) > 2
    said = f"{first} to {last}" if dense else ", ".join(map(str, seeds))
    count = f"{len(own.pairs)} comparison{'s' * (len(own.pairs) != 1)}"
    stages = f", interim analyses at {', '.join(map(str, own.stages))}" if own.stages else ""
    return f"{count} over seed{'s' * (len(seeds) > 1)} {said}{stages}"


def elsewhere_note(found: "Sequence[OtherImages | None]", what: str = "images") -> list[str]:
    """Say what other images are, if some verdict was held against them."""
    if not any(each and each.generality for each in found):
        return []
    return [
        f"verdicts are about these {what}; other {what}: whether the error over {what}, added to "
        "that over seeds, leaves the same verdict"
    ]


def moderation_note(compared: "Sequence[Comparison]") -> list[str]:
    """Say by what spreads were moderated, and what that costs at worst."""
    own = [each for each in compared if each.prior]
    if not own:
        return []
    last = max(own, key=lambda each: each.n)
    assert last.prior
    said = (
        f"spreads between seeds are moderated by the family's ({last.prior.deviation:.3g}, "
        f"worth {last.prior.freedom:.2g} more seeds)"
    )
    if last.share < 1:
        return [said]
    return [f"{said}; if a few comparisons were four times as loud, the error could reach 10 %"]
