"""Defines a space of networks, which is composed, printed, compared, stored, counted and sampled.

Members are distinct resolved networks: equal spellings count once, and combinations that break a
rule are left out.
"""

import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from blocksearch.arch.block import Block
from blocksearch.arch.layers import Shape
from blocksearch.arch.network import Network, Task
from blocksearch.arch.skeleton import Skeleton
from blocksearch.arch.stem import Stem
from blocksearch.arch.values import Value
from blocksearch.arch.zoo import task_of
from blocksearch.errors import ConfigError, SpecError, check_type
from blocksearch.space.constraints import Constraint, read_constraint, together
from blocksearch.space.cost_table import Costs, Count
from blocksearch.space.declaration import Part, make_part, with_widths
from blocksearch.space.encoding import Encoding, crossed, neighbours
from blocksearch.space.enumeration import STREAMED, Enumeration, ProgressFunction
from blocksearch.space.inside import InsideEnumeration
from blocksearch.space.reasons import why_empty, why_not
from blocksearch.space.revision import extended, moved, ordered, restricted
from blocksearch.space.serialisation import as_call, as_data, lines, text


class Grammar:
    """A search space of networks, given by options of each factor of a block and of the network.

    >>> space = Grammar(
    ...     TASKS["gtsrb"], bottleneck=["reduce(2)", "reduce(4)"], residual=["none", "add"]
    ... ).where("flops <= 1M")
    >>> len(space), space[-1].blocks[0], space.costs().params
    (4, Block(bottleneck='reduce(4)', residual='add'), array([23539, 22855, 23539, 22855]))

    Each keyword that names a factor lists its options, as values or texts; other factors keep the
    value of `base`. `widths` lists stage widths (by default the task's), `stem` and `head` what
    networks begin and end with, `depth` the numbers of blocks in a stage (those after the first
    keep the map); `stages=[dict(width=[16, 24], depth=[1, 2], stride=[1, 2]), ...]` lists them for
    each stage. `resolution` and `channels` list what networks read, instead of the task's input.
    One block serves every stage unless `per_stage` is true; a list there, one mapping of options
    for each stage, adds to the common options.

    Networks with equal layers count once, and combinations that break a rule are left out. Indices
    are in the order of the options. Raises ConfigError or SpecError for what cannot be.
    """

    def __init__(
        self,
        task: Task | str,
        *,
        base: Block | None = None,
        widths: Iterable[Sequence[int]] | None = None,
        stem: Iterable[Stem] = ("block",),
        depth: Iterable[int] | None = None,
        head: Iterable[str] = ("flatten",),
        per_stage: bool | Sequence[Mapping[str, Iterable[Value]]] = False,
        skeleton: Skeleton | Callable[[Block], Any] | None = None,
        **options: Iterable[Any],
    ) -> None:
        around = {"widths": widths, "stem": stem, "depth": depth, "head": head}
        inside = skeleton is not None and widths is None
        part = make_part(
            with_widths(task) if inside else task, base or Block(), per_stage, around | options
        )
        self._parts: tuple[Part, ...] = (part,)
        if skeleton is not None:
            self._parts = self.inside(skeleton)._parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grammar) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __repr__(self) -> str:
        """Write the calls that make the space."""
        return " | ".join(map(as_call, self._parts))

    def __str__(self) -> str:
        """Print each part of a union: its task, layouts, options and constraints."""
        return "\nor\n".join("\n".join(lines(part)) for part in self._parts)

    @property
    def digest(self) -> str:
        """Digest of all that defines the space, the sources of a user's ops and functions, too."""
        return hashlib.sha256(json.dumps(self.data()).encode()).hexdigest()

    def data(self) -> list[dict[str, Any]]:
        """Return the space as plain words and numbers, to be stored beside what was found in it."""
        return [as_data(part) for part in self._parts]

    @property
    def parts(self) -> tuple[Part, ...]:
        return self._parts

    @property
    def task(self) -> Task:
        """The task of the first part."""
        return self._parts[0].task

    @property
    def inputs(self) -> tuple[Shape, ...]:
        """What networks read, over all parts."""
        return tuple(dict.fromkeys(input for part in self._parts for input in part.inputs))

    @property
    def options(self) -> dict[str, tuple[Value, ...]]:
        """All options of each factor that is listed, over all parts and stages."""
        found: dict[str, dict[Value, None]] = {}
        for part in self._parts:
            for stage in part.options:
                for name, values in stage:
                    found.setdefault(name, {}).update(dict.fromkeys(values))
        return {name: tuple(values) for name, values in found.items()}

    # Composition.

    def __or__(self, other: "Grammar") -> "Grammar":
        """Unite two spaces; networks of both count once."""
        if not isinstance(other, Grammar):
            return NotImplemented
        if other.skeleton is not self.skeleton:
            raise ConfigError("spaces that are united are inside of one model, or both of none")
        return self._of(tuple(dict.fromkeys((*self._parts, *other._parts))))

    def where(
        self, *constraints: str | Constraint | Callable[[Network], object], **named: Any
    ) -> "Grammar":
        """Keep the networks that meet constraints: texts of rules and budgets (see `constraints`),
        or functions of a network.

        >>> small = Grammar(TASKS["gtsrb"], residual=["none", "add"]).where(
        ...     "flops <= 2M", thin="residual=none or bottleneck!=reduce(8)"
        ... )

        A keyword is the constraint's name. Raises ConfigError for a name that another one has.
        """
        known = self.options
        new = [read_constraint(each, known=known) for each in constraints]
        new += [read_constraint(each, name, known) for name, each in named.items()]
        parts = (replace(part, constraints=together(part.constraints, new)) for part in self._parts)
        return self._of(tuple(parts))

    def restrict(self, **options: Iterable[Any]) -> "Grammar":
        """Keep only some options of some factors, and of what is around the blocks: `stem`,
        `resolution`, `stage1_depth`.
        """
        parts = [kept for part in self._parts if (kept := restricted(part, options)) is not None]
        if not parts:
            wanted = ", ".join(f"{name}={text(values)}" for name, values in options.items())
            raise SpecError(f"the space is empty: none of its options is left by {wanted}")
        return self._of(tuple(parts))

    def fix(self, **values: Any) -> "Grammar":
        """Keep a single option of some factors."""
        return self.restrict(**{name: [value] for name, value in values.items()})

    def extend(self, **options: Iterable[Any]) -> "Grammar":
        """Add options to factors. One that had none keeps the base block's value as its first."""
        return self._of(tuple(extended(part, options) for part in self._parts))

    def inside(self, skeleton: Skeleton | Callable[[Block], Any]) -> "Grammar":
        """Return the same blocks, each inside the model that a function makes of it.

        Raises SpecError if the space varies more than a block.
        """
        own = skeleton if isinstance(skeleton, Skeleton) else Skeleton(skeleton)
        return self._of(tuple(replace(part, skeleton=own) for part in self._parts))

    @property
    def skeleton(self) -> Skeleton | None:
        """The function that puts blocks into a user's model, if the space has one."""
        return self._parts[0].skeleton

    def on(self, task: Task | str) -> "Grammar":
        """Return the same space on images of another input, classes and dropout; widths stay. A
        data set's name is as good as its task.
        """
        own = task_of(task)
        return self._of(tuple(moved(part, own) for part in self._parts))

    def in_order_of(self, stored: Sequence[Mapping[str, Any]]) -> "Grammar":
        """Write factors and rules in the order that a stored space has them in."""
        return self._of(tuple(ordered(*each) for each in zip(self._parts, stored, strict=True)))

    @classmethod
    def _of(cls, parts: tuple[Part, ...]) -> "Grammar":
        made = object.__new__(cls)
        made._parts = parts
        return made

    # Networks.

    @cached_property
    def enumeration(self) -> Enumeration:
        """The distinct networks by number. Raises SpecError if there are none, with the reason."""
        made = [part.product for part in self._parts], [part.filters for part in self._parts]
        own = self.skeleton
        found = InsideEnumeration(*made, own) if own else Enumeration(*made)
        if found.diagram.size == 0:
            raise SpecError(why_empty(self._parts))
        return found

    @property
    def size(self) -> int:
        """Exact number of networks. Raises SpecError if only `count`, an estimate, can be had."""
        return self.enumeration.size()

    def count(self, progress: ProgressFunction | None = None) -> Count:
        """Count the networks, or estimate their number and say so."""
        return self.enumeration.count(progress)

    def __len__(self) -> int:
        """Return `size`, which `len` takes up to 2⁶³."""
        return self.size

    def __bool__(self) -> bool:
        return True  # without counting

    def __iter__(self) -> Iterator[Network]:
        """Yield the networks in order, in memory that does not grow."""
        return self.enumeration.walk()

    @overload
    def __getitem__(self, index: SupportsIndex) -> Network: ...
    @overload
    def __getitem__(self, index: slice) -> list[Network]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Network | list[Network]:
        """Return the network of an index from 0, or those of a slice. Negative ones count from the
        end.
        """
        space = self.enumeration
        check_type("an index of a space", index, int | slice)
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(space.size()))]
        return space.network(space.genotype(operator.index(index)))

    def index(self, network: Network) -> int:
        """Return the index of the network with the same layers. Raises SpecError with the reason if
        it is not in the space.
        """
        found = self.enumeration.index(_checked(network))
        if found is None:
            raise SpecError(f"the network is not in the space: {self.why_not(network)}")
        return found

    def __contains__(self, what: object) -> bool:
        return isinstance(what, Block | Network) and self.why_not(what) is None

    def why_not(self, what: Block | Network) -> str | None:
        """Return the rule that excludes a block or a network, or None if it is in the space.

        >>> Grammar(TASKS["gtsrb"], residual=["none", "add"]).why_not(Block(kernel="5x5"))
        'kernel=5x5 is none of 3x3'
        """
        return why_not(self.enumeration, what)

    @cached_property
    def encoding(self) -> Encoding:
        """The networks as rows of small whole numbers, one for each choice."""
        return Encoding(self.enumeration.products)

    def neighbours(self, network: Network) -> list[Network]:
        """Return the other networks of the space that differ from one in a single choice: a factor
        of one block, or the widths, first layer or depth.
        """
        return neighbours(self.enumeration, self.encoding, _checked(network))

    def mutate(self, network: Network, seed: int | np.random.Generator = 0) -> Network:
        """Return one of the neighbours, each equally likely; the network itself if it has none."""
        near = self.neighbours(network)
        return near[np.random.default_rng(seed).integers(len(near))] if near else network

    def crossover(
        self, one: Network, other: Network, seed: int | np.random.Generator = 0
    ) -> Network:
        """Return a network of the space that takes each choice from one of two; one of these if
        twenty such in turn are not in the space.
        """
        parents = _checked(one), _checked(other)
        return crossed(self.enumeration, self.encoding, parents, seed)

    def sample(self, count: int, seed: int = 0) -> list[Network]:
        """Draw distinct networks, each set of them equally likely."""
        return self.enumeration.sample(count, seed)

    def costs(self, indices: Sequence[int] | NDArray[np.int64] | None = None) -> Costs:
        """Price networks by their indices, or all of them, as arrays in order.

        Raises SpecError if all are too many to be held at once: `chunks` streams them.
        """
        if indices is not None:
            return self.enumeration.costs(indices)
        if self.enumeration.diagram.size > STREAMED:
            raise SpecError(
                f"the costs of {self.enumeration.diagram.size:,} networks are "
                "too many to hold at once; stream chunks()"
            )
        return Costs.joined(list(self.enumeration.chunks()))

    def chunks(self) -> Iterator[Costs]:
        """Price all networks in order, some hundred thousand at a time."""
        return self.enumeration.chunks()

    def frontier(self, *quantities: str) -> list[Network]:
        """Return the networks that no other undercuts in all of some costs (by default flops and
        params), exactly at any size.
        """
        return self.enumeration.frontier(quantities or ("flops", "params"))

    def nearest(self, count: int = 1, **target: float) -> list[Network]:
        """Return the networks nearest to a cost, such as `nearest(3, flops=12e6)`, nearest first.

        Raises ConfigError for more than one cost, SpecError for a space of more than ten million.
        """
        if len(target) != 1:
            raise ConfigError(
                f"nearest takes one cost, such as flops=12e6, but got {', '.join(target) or 'none'}"
            )
        ((quantity, wanted),) = target.items()
        return [self[index] for index in self.enumeration.nearest(quantity, wanted, count)]


def _checked(network: Network) -> Network:
    if not isinstance(network, Network):
        raise ConfigError(f"a space holds networks, but got {network!r}")
    return network
