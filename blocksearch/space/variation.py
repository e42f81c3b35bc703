"""Other networks of a space, made out of its networks by a change of one choice, or by a cross."""

import numpy as np

from blocksearch.arch.network import Network
from blocksearch.errors import SpecError
from blocksearch.space.encoding import Encoding
from blocksearch.space.enumeration import Enumeration
from blocksearch.space.layouts import Genotype
from blocksearch.space.reasons import why_not

_TRIES = 20  # children that may leave the space before a parent is returned


def neighbours(space: Enumeration, encoding: Encoding, network: Network) -> list[Network]:
    """Return the other networks that differ from one in a single choice."""
    genotypes = map(encoding.decode, encoding.neighbours(_code(space, encoding, network)))
    made = (_made(space, genotype) for genotype in genotypes)
    near = {each.digest: each for each in made if each is not None}
    return [each for digest, each in near.items() if digest != network.digest]


def crossed(
    space: Enumeration, encoding: Encoding, parents: tuple[Network, Network], seed: object
) -> Network:
    """Return a network that takes each choice from one of two parents; one of them if twenty such
    in turn are not in the space.
    """
    rng = np.random.default_rng(seed)  # type: ignore[arg-type]
    one, other = (_code(space, encoding, each) for each in parents)
    for _ in range(_TRIES):
        child = _made(space, encoding.decode(encoding.cross(one, other, rng)))
        if child is not None:
            return child
    return parents[rng.integers(2)]


def _code(space: Enumeration, encoding: Encoding, network: Network) -> tuple[int, ...]:
    genotype = space.genotype_of(network)
    if genotype is None:
        raise SpecError(f"the network is not in the space: {why_not(space, network)}")
    return encoding.encode(genotype)


def _made(space: Enumeration, genotype: Genotype | None) -> Network | None:
    """Build a genotype's network; None if that is none of the space."""
    if genotype is None:
        return None
    try:
        network = space.network(genotype)
    except SpecError:
        return None
    return network if space.rank(network) is not None else None
