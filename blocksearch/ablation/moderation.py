"""Estimates the spread of each comparison from its own seeds and from its family's spreads.

At five seeds a spread is known badly, and a family of comparisons knows how large spreads usually
are. Each comparison gets that as a prior worth some degrees of freedom, fewer the louder it is
itself: README.md in this folder says why, and what error is left.

Source: Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3, article 3; weights and guard are ours.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeVar, assert_never

from scipy import special

from blocksearch.ablation.config import Variance
from blocksearch.ablation.flips import smallest_flip
from blocksearch.ablation.power import critical, two_sided
from blocksearch.runs.metrics import RESOLUTION, Floats, spread

FAMILY = 10  # comparisons from which a family has a prior
SEEDS = 5  # that each of these has at least
CAP = 12.0  # degrees of freedom that a prior is worth at most
FLOOR = 1e-5  # of the median variance: a smaller one counts as this much for the prior

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Prior:
    """The spread that a family's comparisons usually have, and its degrees of freedom."""

    deviation: float
    freedom: float


@dataclass(frozen=True, kw_only=True)
class PairedMean:
    """A mean of n paired differences with its error, and the p of the t-test by it.

    `p_own` is the p by the comparison's own spread alone. Where that is zero, the p is the sign
    flip's 2/2ⁿ (1 for no difference). `also` are further errors with their degrees of freedom, by
    each of which the interval is at least as wide, and the p at least as large.
    """

    n: int
    mean: float
    error: float
    freedom: float
    p: float
    p_own: float
    also: tuple[tuple[float, float], ...] = ()

    def at(self, level: float) -> "PairedMean":
        """Return it with the error that gives the widest interval at a level."""
        every = ((self.error, self.freedom), *self.also)
        error, freedom = max(every, key=lambda own: own[0] * critical(own[1], level))
        return replace(self, error=error, freedom=freedom)


def estimates(
    differences: Mapping[Name, Floats], variance: Variance, alpha: float
) -> tuple[dict[Name, PairedMean], Prior | None]:
    """Estimate the effect of each comparison of two seeds or more; with the prior, where the
    family has one.

    No comparison is decided by its prior alone: one whose own p is above `alpha` keeps at least
    that p.
    """
    own = {name: _own(each) for name, each in differences.items()}
    spreads = {name: each.error * math.sqrt(each.n) for name, each in own.items()}
    many = {name: spreads[name] for name, each in own.items() if each.n >= SEEDS}
    match variance:
        case Variance.OWN:
            moderates = False
        case Variance.MODERATED:
            moderates = len(many) >= FAMILY and median(many.values()) != 0
        case _:
            assert_never(variance)
    if not moderates:
        return own, None
    prior = fitted([(many[name] ** 2, own[name].n - 1) for name in many])
    moderated = {
        name: _moderated(each, many[name] ** 2, prior, alpha) if name in many else each
        for name, each in own.items()
    }
    return moderated, prior


def _own(differences: Floats) -> PairedMean:
    deviation, mean, n = spread(differences), float(differences.mean()), len(differences)
    error = deviation / math.sqrt(n)
    flip = 1.0 if abs(mean) <= RESOLUTION else smallest_flip(n)
    p = two_sided(mean / error, n - 1) if error else flip
    return PairedMean(n=n, mean=mean, error=error, freedom=n - 1, p=p, p_own=p)


def fitted(variances: Sequence[tuple[float, int]]) -> Prior:
    """Fit a prior to variances with their degrees of freedom by the moments of their logarithms.

    The spread is that of the uncapped fit; the weight is capped. Scaling all variances by a power
    of two scales the spread to the last bit, and their order does not matter.

    >>> prior = fitted([(1.0, 4)] * 10)
    >>> round(prior.deviation, 3), prior.freedom
    (1.145, 12.0)
    """
    middle = median(value for value, _ in variances)
    logs = [
        math.log(max(value / middle, FLOOR)) - float(special.psi(f / 2)) + math.log(f / 2)
        for value, f in variances
    ]
    count = len(logs)
    mean = math.fsum(logs) / count
    apart = math.fsum((each - mean) ** 2 for each in logs) / (count - 1)
    excess = apart - math.fsum(float(special.polygamma(1, f / 2)) for _, f in variances) / count
    freedom = math.inf
    if excess > 1e-12:
        freedom = 2 * _trigamma_inverse(excess)
        mean += float(special.psi(freedom / 2)) - math.log(freedom / 2)
    return Prior(math.sqrt(middle) * math.exp(mean / 2), min(freedom, CAP))


def _trigamma_inverse(value: float) -> float:
    """Solve ψ′(y) = value by Newton's steps, which rise to the solution."""
    y, step = 0.5 + 1 / value, -math.inf
    while -step / y >= 1e-8:
        slope = float(special.polygamma(1, y))
        step = slope * (1 - slope / value) / float(special.polygamma(2, y))
        y += step
    return y


def _moderated(own: PairedMean, variance: float, prior: Prior, alpha: float) -> PairedMean:
    """Let the prior count by how usual the comparison's own spread is, which it never lowers."""
    f, usual = own.freedom, prior.deviation**2
    added = prior.freedom * float(special.fdtrc(f, prior.freedom, variance / usual))
    blended = max(variance, (added * usual + f * variance) / (added + f))
    error, freedom = math.sqrt(blended / own.n), f + added
    p = two_sided(own.mean / error, freedom)
    if variance > 0 and own.p > alpha:
        p = max(p, own.p)
    return replace(own, error=error, freedom=freedom, p=p)
