"""Scales widths to a budget, to the largest network of the same proportions that a cost allows."""

from dataclasses import replace
from fractions import Fraction
from math import floor

from blocksearch.arch.cost import Budget, read_budget
from blocksearch.arch.network import Network
from blocksearch.errors import ConfigError, SpecError, check_type

_HALF = Fraction(1, 2)
_MOST_CHANNELS = 10**7


def rescaled(network: Network, budget: Budget | str) -> Network:
    """Scale all stage widths by one factor, as far as a budget allows.

    >>> from blocksearch import TASKS, named_network
    >>> rescaled(named_network("effnet", TASKS["gtsrb"]), "flops <= 1M").widths
    (17, 34, 67)

    Widths are rounded to the nearest whole number, at least 1; the result meets the budget and the
    next width up does not. Raises ConfigError for a budget that is no upper bound, SpecError if
    even the thinnest network breaks it.
    """
    check_type("a network to rescale", network, Network)
    check_type("a budget", budget, Budget | str)
    limit = read_budget(budget) if isinstance(budget, str) else budget
    if not limit.relation.is_upper:
        raise ConfigError(
            f"widths are rescaled to an upper bound such as flops <= 12e6, but got {limit}"
        )
    widths = network.widths
    low, high = Fraction(0), Fraction(1)
    if not _fits(network, low, limit):
        thinnest = limit.of(_scaled(network, low).cost)
        raise SpecError(
            f"no width meets {limit}: the thinnest network has {thinnest:,} {limit.quantity}"
        )
    while _fits(network, high, limit):
        low, high = high, 2 * high
        if max(widths) * high > _MOST_CHANNELS:
            raise SpecError(
                f"{limit} is no bound for these widths: {max(widths) * low} channels still meet it"
            )
    while _fits(network, following := next_scale(widths, low), limit):
        middle = (following + high) / 2
        low, high = (middle, high) if _fits(network, middle, limit) else (following, middle)
    try:
        return _scaled(network, low)
    except SpecError as error:
        raise SpecError(
            f"no width meets {limit}: thinner networks cannot be built ({error})"
        ) from error


def widths_at(widths: tuple[int, ...], scale: Fraction) -> tuple[int, ...]:
    """Scale widths, each rounded to the nearest whole number and at least 1."""
    return tuple(max(1, floor(width * scale + _HALF)) for width in widths)


def next_scale(widths: tuple[int, ...], scale: Fraction) -> Fraction:
    """Return the smallest larger scale at which a width grows."""
    wider = zip(widths_at(widths, scale), widths, strict=True)
    return min((wide + _HALF) / width for wide, width in wider)


def _scaled(network: Network, scale: Fraction) -> Network:
    return replace(network, widths=widths_at(network.widths, scale))


def _fits(network: Network, scale: Fraction, limit: Budget) -> bool:
    """Say whether a scale meets the budget; widths too thin to be built cost nothing yet."""
    try:
        scaled = _scaled(network, scale)
    except SpecError:
        return True
    return bool(limit.holds(limit.of(scaled.cost)))
