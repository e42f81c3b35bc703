"""The distinct members of a grammar as paths of a diagram: counted, numbered, found and priced
without walking them.

The machine of `words` may spell one network in several ways. Following all of its states that one
prefix reaches at once (the subset construction of automata) gives a diagram in which each network
is one path: sizes are sums, the i-th member is a descent, and costs add up along the way. Paths are
in the order of the options.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blocksearch.space.alphabet import FREE, Price, Word
from blocksearch.space.automaton import Machine

CHUNK = 1 << 18
LARGEST = 1 << 62  # more members than this are counted and found, but not priced as arrays
_KEPT = 1 << 24  # members of priced states that are remembered while streaming
Arrays: TypeAlias = NDArray[
    np.int64
]  # 5 × members: macs, params, floats, peak, and the kind of ending
_PEAK, _KIND, _ROWS = 3, 4, 5
_NOWHERE = -1  # the state from which no member can be reached


@dataclass(frozen=True)
class State:
    """A point of the diagram: whether members end here, and the ways on: letters, their price, and
    the state they lead to.
    """

    kind: int | None  # number of the set of parts whose members end here
    words: tuple[Word, ...]
    prices: tuple[Price, ...]
    nexts: tuple[int, ...]
    before: tuple[int, ...]  # members that precede each way on, and in the end all of them

    @property
    def count(self) -> int:
        return self.before[-1]


class Diagram:
    """All distinct members of what a machine spells. A state's successors come before it in
    `states`.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.states: list[State] = []
        self.kinds: list[frozenset[int]] = []
        self._numbers: dict[frozenset[tuple[Word, int]], int] = {}
        self._remembered: dict[int, Arrays] = {}
        self._held = 0
        self.root = self._state([((), start) for start in machine.starts])

    @property
    def size(self) -> int:
        return 0 if self.root == _NOWHERE else self.states[self.root].count

    def at(self, index: int) -> Word:
        """Return the word of a member by its number."""
        state = self.states[self.root]
        word: Word = ()
        while True:
            if state.kind is not None and index == 0:
                return word
            way = bisect_right(state.before, index) - 1
            index -= state.before[way]
            word += state.words[way]
            state = self.states[state.nexts[way]]

    def index(self, word: Word) -> int | None:
        """Return the number of the member that a word spells, or None where it spells none."""
        state, index, at = self.root, 0, 0
        while at < len(word):
            way = self._ways[state].get(word[at])
            found = self.states[state]
            if way is None or word[at : at + len(found.words[way])] != found.words[way]:
                return None
            index += found.before[way]
            at += len(found.words[way])
            state = found.nexts[way]
        return index if self.states[state].kind is not None else None

    def chunks(self) -> Iterator[Arrays]:
        """Price every member in order, some hundred thousand at a time and in bounded memory."""
        waiting: list[Arrays] = []
        for piece in self._pieces(self.root, FREE):
            waiting.append(piece)
            if sum(piece.shape[1] for piece in waiting) >= CHUNK:
                yield np.concatenate(waiting, axis=1)
                waiting = []
        if waiting:
            yield np.concatenate(waiting, axis=1)

    def priced(self, indices: Sequence[int] | NDArray[np.int64]) -> Arrays:
        """Price members by their numbers: all of them descend at once."""
        if self.size > LARGEST or self._table.base[-1] > LARGEST:
            return np.stack([self._priced_alone(int(index)) for index in indices], axis=1)
        return self._table.descend(np.asarray(indices, dtype=np.int64), self.root)

    def extremes(self) -> tuple[Price, Price]:
        """Return the least and the largest of each cost over all members."""
        least: list[Price] = []
        most: list[Price] = []
        for state in self.states:
            ends = [FREE] if state.kind is not None else []
            for found, best, better in ((least, min, least), (most, max, most)):
                ways = [p.then(better[n]) for p, n in zip(state.prices, state.nexts, strict=True)]
                found.append(Price(*(best(column) for column in zip(*ends, *ways, strict=True))))
        return least[self.root], most[self.root]

    def frontier(self, rows: Sequence[int]) -> list[int]:
        """Return the members that no other undercuts in some rows of the costs, exactly, whatever
        the size.

        What follows a prefix adds the same to each way of spelling it, so what is dominated in a
        state is dominated in the end. Of members with equal costs the first stands for all.
        """
        columns = list(rows)
        added = np.array([row != _PEAK for row in columns])
        fronts: list[tuple[Arrays, list[int]]] = []
        for state in self.states:
            points = [np.zeros((1, len(columns)), np.int64)] if state.kind is not None else []
            indices = [0] if state.kind is not None else []
            for price, following, before in zip(
                state.prices, state.nexts, state.before, strict=False
            ):
                price_row = np.array(price, np.int64)[columns]
                ahead, numbers = fronts[following]
                points.append(np.where(added, ahead + price_row, np.maximum(ahead, price_row)))
                indices += [before + number for number in numbers]
            everything = np.concatenate(points)
            chosen = undominated(everything)
            fronts.append((everything[chosen], [indices[i] for i in chosen]))
        return fronts[self.root][1]

    def _state(self, items: list[tuple[Word, int]]) -> int:
        """Make the state of a list of letters still to be read, each with where the machine is
        after them.
        """
        unread, parts = self._read_on(items)
        key = frozenset(unread) | {((), part) for part in parts}
        if key in self._numbers:
            return self._numbers[key]
        groups: dict[int, list[tuple[Word, int]]] = {}
        for item in unread:
            groups.setdefault(item[0][0], []).append(item)
        words, nexts = [], []
        for group in groups.values():
            length = _common([word for word, _ in group])
            following = self._state([(word[length:], node) for word, node in group])
            if following != _NOWHERE:
                words.append(group[0][0][:length])
                nexts.append(following)
        if not parts and not nexts:  # every combination breaks a rule
            self._numbers[key] = _NOWHERE
            return _NOWHERE
        before = accumulate(
            (self.states[following].count for following in nexts), initial=int(bool(parts))
        )
        prices = tuple(self.machine.alphabet.price(word) for word in words)
        kind = self._kind(frozenset(parts)) if parts else None
        self.states.append(State(kind, tuple(words), prices, tuple(nexts), tuple(before)))
        self._numbers[key] = len(self.states) - 1
        return self._numbers[key]

    def _read_on(self, items: list[tuple[Word, int]]) -> tuple[list[tuple[Word, int]], list[int]]:
        """Follow the machine from where nothing is left to be read; say which parts' members end
        here.
        """
        unread: dict[tuple[Word, int], None] = {}
        parts: dict[int, None] = {}
        waiting, seen = list(reversed(items)), set(items)
        while waiting:
            word, node = waiting.pop()
            ended = self.machine.ended(node)
            if word:
                unread[word, node] = None
            elif ended is not None:
                parts[ended] = None
            else:
                following = [(arc.word, arc.node) for arc in self.machine.arcs(node)]
                waiting += [item for item in reversed(following) if item not in seen]
                seen.update(following)
        return list(unread), list(parts)

    def _kind(self, parts: frozenset[int]) -> int:
        if parts not in self.kinds:
            self.kinds.append(parts)
        return self.kinds.index(parts)

    @cached_property
    def _ways(self) -> list[dict[int, int]]:
        return [{word[0]: way for way, word in enumerate(state.words)} for state in self.states]

    def _pieces(self, number: int, price: Price) -> Iterator[Arrays]:
        state = self.states[number]
        if state.count <= CHUNK:
            yield _after(price, self._whole(number))
            return
        if state.kind is not None:
            yield _after(price, _ending(state.kind))
        for step, following in zip(state.prices, state.nexts, strict=True):
            yield from self._pieces(following, price.then(step))

    def _whole(self, number: int) -> Arrays:
        """Price all members of a state, from the priced members of those that follow."""
        if number in self._remembered:
            return self._remembered[number]
        state = self.states[number]
        found = np.empty((_ROWS, state.count), np.int64)
        if state.kind is not None:
            found[:, :1] = _ending(state.kind)
        for way, following in enumerate(state.nexts):
            found[:, state.before[way] : state.before[way + 1]] = _after(
                state.prices[way], self._whole(following)
            )
        if self._held > _KEPT:
            self._remembered.clear()
            self._held = 0
        self._remembered[number] = found
        self._held += state.count
        return found

    def _priced_alone(self, index: int) -> NDArray[np.int64]:
        word = self.at(index)
        state, price, at = self.root, FREE, 0
        while at < len(word):
            way = self._ways[state][word[at]]
            found = self.states[state]
            price, at, state = (
                price.then(found.prices[way]),
                at + len(found.words[way]),
                found.nexts[way],
            )
        return np.array([*price, self.states[state].kind], np.int64)

    @cached_property
    def _table(self) -> "_Table":
        return _Table(self.states)


class _Table:
    """The diagram as flat arrays, for many descents at once. A way that ends leads to −1 − its
    kind.
    """

    def __init__(self, states: Sequence[State]) -> None:
        before: list[int] = []
        prices: list[Price] = []
        nexts: list[int] = []
        base = list(accumulate((state.count for state in states), initial=0))
        self.base = np.array(base, dtype=np.int64 if base[-1] <= LARGEST else object)
        for state, start in zip(states, base, strict=False):
            if state.kind is not None:
                before.append(start)
                prices.append(FREE)
                nexts.append(-1 - state.kind)
            before += [start + count for count in state.before[:-1]]
            prices += state.prices
            nexts += [_next(states, following) for following in state.nexts]
        self.before = np.array(before, dtype=self.base.dtype)
        self.prices = np.array(prices, np.int64).reshape(-1, _PEAK + 1).T.copy()
        self.nexts = np.array(nexts, np.int64)

    def descend(self, indices: NDArray[np.int64], root: int) -> Arrays:
        found = np.zeros((_ROWS, len(indices)), np.int64)
        who, at = np.arange(len(indices)), self.base[root] + indices
        while len(who):
            way = np.searchsorted(self.before, at, side="right") - 1
            price, following = self.prices[:, way], self.nexts[way]
            found[:_PEAK, who] += price[:_PEAK]
            found[_PEAK, who] = np.maximum(found[_PEAK, who], price[_PEAK])
            found[_KIND, who] = -1 - following
            goes_on = following >= 0
            who, left = who[goes_on], (at - self.before[way])[goes_on]
            at = self.base[following[goes_on]] + left
        return found


def _next(states: Sequence[State], following: int) -> int:
    """Skip a state in which members only end."""
    state = states[following]
    return following if state.nexts or state.kind is None else -1 - state.kind


def _after(price: Price, members: Arrays) -> Arrays:
    added = members + np.array([*price[:_PEAK], 0, 0], np.int64)[:, None]
    np.maximum(added[_PEAK], price.peak, out=added[_PEAK])
    return added


def _ending(kind: int) -> Arrays:
    return np.array([0] * (_ROWS - 1) + [kind], np.int64)[:, None]


def _common(words: Sequence[Word]) -> int:
    """Return how many letters all words begin with alike."""
    first, last = min(words), max(words)
    return next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )


def undominated(points: NDArray[np.int64]) -> list[int]:
    """Return the rows that no other row undercuts (at most as large everywhere), one for each
    distinct point, in order.
    """
    order = np.lexsort((*points.T[::-1],))
    kept: list[int] = []
    while len(order):
        best = order[0]
        kept.append(int(best))
        order = order[(points[order] < points[best]).any(axis=1)]
    return kept
