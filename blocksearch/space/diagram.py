"""Counts, ranks and prices the distinct networks of a space as paths of a decision diagram, without
enumerating them.

The automaton may spell one network in several ways. Its determinised form (the subset construction:
follow all states that one prefix reaches) is a diagram in which each network is one path. Sizes are
sums, the network of a rank is a descent, and costs add up along the path. Paths are in the order of
the options.
"""

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from blocksearch.space.automaton import Automaton
from blocksearch.space.speller import FREE, Price, Word, then

CHUNK = 1 << 18
LARGEST = 1 << 62  # more networks than this are counted and ranked, but not priced as arrays
_KEPT = 1 << 24  # networks of priced nodes that are remembered while streaming
# rows × networks: those of `ROWS`, the peak last, and the kind of ending
Arrays: TypeAlias = NDArray[np.int64]
_KIND = len(FREE)
_PEAK, _ROWS = _KIND - 1, _KIND + 1
_NOWHERE = -1  # the node from which no network can be reached


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the diagram: whether networks end here, and its edges: their symbols, the price of
    these, and the node they lead to.
    """

    kind: int | None  # number of the set of parts whose networks end here
    words: tuple[Word, ...]
    prices: tuple[Price, ...]
    nexts: tuple[int, ...]
    before: tuple[int, ...]  # networks that precede each edge, and in the end all of them

    @property
    def count(self) -> int:
        return self.before[-1]


class Diagram:
    """All distinct networks that an automaton spells. In `nodes`, successors come first."""

    def __init__(self, automaton: Automaton) -> None:
        self.automaton = automaton
        self.nodes: list[Node] = []
        self.kinds: list[frozenset[int]] = []
        self._numbers: dict[frozenset[tuple[Word, int]], int] = {}
        self._remembered: dict[int, Arrays] = {}
        self._held = 0
        self.root = self._node([((), start) for start in automaton.starts])

    @property
    def size(self) -> int:
        return 0 if self.root == _NOWHERE else self.nodes[self.root].count

    def unrank(self, rank: int) -> Word:
        """Return the word of the network of a rank."""
        return tuple(symbol for node, edge in self._way(rank) for symbol in node.words[edge])

    def rank(self, word: Word) -> int | None:
        """Return the rank of the network that a word spells, or None if it spells none."""
        node, rank, at = self.root, 0, 0
        while at < len(word):
            edge = self._edges[node].get(word[at])
            found = self.nodes[node]
            if edge is None or word[at : at + len(found.words[edge])] != found.words[edge]:
                return None
            rank += found.before[edge]
            at += len(found.words[edge])
            node = found.nexts[edge]
        return rank if self.nodes[node].kind is not None else None

    def chunks(self) -> Iterator[Arrays]:
        """Price every network in order, some hundred thousand at a time and in bounded memory."""
        waiting: list[Arrays] = []
        for piece in self._pieces(self.root, FREE):
            waiting.append(piece)
            if sum(piece.shape[1] for piece in waiting) >= CHUNK:
                yield np.concatenate(waiting, axis=1)
                waiting = []
        if waiting:
            yield np.concatenate(waiting, axis=1)

    def priced(self, ranks: Sequence[int] | NDArray[np.int64]) -> Arrays:
        """Price networks by their ranks, all of them in one descent."""
        if self.size > LARGEST or self._table.base[-1] > LARGEST:
            return np.stack([self._priced_alone(int(rank)) for rank in ranks], axis=1)
        return self._table.descend(np.asarray(ranks, dtype=np.int64), self.root)

    def extremes(self) -> tuple[Price, Price]:
        """Return the least and the largest of each cost over all networks."""
        least: list[Price] = []
        most: list[Price] = []
        for node in self.nodes:
            ends = [FREE] if node.kind is not None else []
            for found, best, better in ((least, min, least), (most, max, most)):
                edges = [then(p, better[n]) for p, n in zip(node.prices, node.nexts, strict=True)]
                found.append(tuple(best(column) for column in zip(*ends, *edges, strict=True)))
        return least[self.root], most[self.root]

    def frontier(self, rows: Sequence[int]) -> list[int]:
        """Return the ranks of the networks that no other undercuts in some rows of the costs,
        exactly and whatever the size.

        Every suffix adds the same to all prefixes of a node, so a prefix that is dominated in its
        node stays dominated. Of networks with equal costs the first stands for all.
        """
        columns = list(rows)
        added = np.array([row != _PEAK for row in columns])
        fronts: list[tuple[Arrays, list[int]]] = []
        for node in self.nodes:
            points = [np.zeros((1, len(columns)), np.int64)] if node.kind is not None else []
            indices = [0] if node.kind is not None else []
            for price, following, before in zip(node.prices, node.nexts, node.before, strict=False):
                price_row = np.array(price, np.int64)[columns]
                ahead, numbers = fronts[following]
                points.append(np.where(added, ahead + price_row, np.maximum(ahead, price_row)))
                indices += [before + number for number in numbers]
            everything = np.concatenate(points)
            chosen = undominated(everything)
            fronts.append((everything[chosen], [indices[i] for i in chosen]))
        return fronts[self.root][1]

    def _node(self, items: list[tuple[Word, int]]) -> int:
        """Make the node of a list of words still to be read, each with the state after it."""
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
            following = self._node([(word[length:], state) for word, state in group])
            if following != _NOWHERE:
                words.append(group[0][0][:length])
                nexts.append(following)
        if not parts and not nexts:  # every combination breaks a rule
            self._numbers[key] = _NOWHERE
            return _NOWHERE
        before = accumulate(
            (self.nodes[following].count for following in nexts), initial=int(bool(parts))
        )
        prices = tuple(self.automaton.speller.price(word) for word in words)
        kind = self._kind(frozenset(parts)) if parts else None
        self.nodes.append(
            Node(
                kind=kind,
                words=tuple(words),
                prices=prices,
                nexts=tuple(nexts),
                before=tuple(before),
            )
        )
        self._numbers[key] = len(self.nodes) - 1
        return self._numbers[key]

    def _read_on(self, items: list[tuple[Word, int]]) -> tuple[list[tuple[Word, int]], list[int]]:
        """Follow the automaton from states with nothing left to read; return parts that end."""
        unread: dict[tuple[Word, int], None] = {}
        parts: dict[int, None] = {}
        waiting, seen = list(reversed(items)), set(items)
        while waiting:
            word, state = waiting.pop()
            ended = self.automaton.ended(state)
            if word:
                unread[word, state] = None
            elif ended is not None:
                parts[ended] = None
            else:
                following = [(each.word, each.state) for each in self.automaton.transitions(state)]
                waiting += [item for item in reversed(following) if item not in seen]
                seen.update(following)
        return list(unread), list(parts)

    def _kind(self, parts: frozenset[int]) -> int:
        if parts not in self.kinds:
            self.kinds.append(parts)
        return self.kinds.index(parts)

    @cached_property
    def _edges(self) -> list[dict[int, int]]:
        return [{word[0]: edge for edge, word in enumerate(node.words)} for node in self.nodes]

    def _pieces(self, number: int, price: Price) -> Iterator[Arrays]:
        node = self.nodes[number]
        if node.count <= CHUNK:
            yield _after(price, self._whole(number))
            return
        if node.kind is not None:
            yield _after(price, _ending(node.kind))
        for step, following in zip(node.prices, node.nexts, strict=True):
            yield from self._pieces(following, then(price, step))

    def _whole(self, number: int) -> Arrays:
        """Price all networks of a node, from the priced ones of those that follow."""
        if number in self._remembered:
            return self._remembered[number]
        node = self.nodes[number]
        found = np.empty((_ROWS, node.count), np.int64)
        if node.kind is not None:
            found[:, :1] = _ending(node.kind)
        for edge, following in enumerate(node.nexts):
            found[:, node.before[edge] : node.before[edge + 1]] = _after(
                node.prices[edge], self._whole(following)
            )
        if self._held > _KEPT:
            self._remembered.clear()
            self._held = 0
        self._remembered[number] = found
        self._held += node.count
        return found

    def _priced_alone(self, rank: int) -> NDArray[np.int64]:
        price, last = FREE, self.root
        for node, edge in self._way(rank):
            price, last = then(price, node.prices[edge]), node.nexts[edge]
        return np.array([*price, self.nodes[last].kind], np.int64)

    def _way(self, rank: int) -> Iterator[tuple[Node, int]]:
        """Descend to the network of a rank: each node on the way, and the edge taken there."""
        node = self.nodes[self.root]
        while node.kind is None or rank > 0:
            edge = bisect_right(node.before, rank) - 1
            rank -= node.before[edge]
            yield node, edge
            node = self.nodes[node.nexts[edge]]

    @cached_property
    def _table(self) -> "_Table":
        return _Table(self.nodes)


class _Table:
    """The diagram as flat arrays, for many descents at once; an end is −1 − kind."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        before: list[int] = []
        prices: list[Price] = []
        nexts: list[int] = []
        base = list(accumulate((node.count for node in nodes), initial=0))
        self.base = np.array(base, dtype=np.int64 if base[-1] <= LARGEST else object)
        for node, start in zip(nodes, base, strict=False):
            if node.kind is not None:
                before.append(start)
                prices.append(FREE)
                nexts.append(-1 - node.kind)
            before += [start + count for count in node.before[:-1]]
            prices += node.prices
            nexts += [_next(nodes, following) for following in node.nexts]
        self.before = np.array(before, dtype=self.base.dtype)
        self.prices = np.array(prices, np.int64).reshape(-1, _PEAK + 1).T.copy()
        self.nexts = np.array(nexts, np.int64)

    def descend(self, ranks: NDArray[np.int64], root: int) -> Arrays:
        found = np.zeros((_ROWS, len(ranks)), np.int64)
        who, at = np.arange(len(ranks)), self.base[root] + ranks
        while len(who):
            edge = np.searchsorted(self.before, at, side="right") - 1
            price, following = self.prices[:, edge], self.nexts[edge]
            found[:_PEAK, who] += price[:_PEAK]
            found[_PEAK, who] = np.maximum(found[_PEAK, who], price[_PEAK])
            found[_KIND, who] = -1 - following
            goes_on = following >= 0
            who, left = who[goes_on], (at - self.before[edge])[goes_on]
            at = self.base[following[goes_on]] + left
        return found


def _next(nodes: Sequence[Node], following: int) -> int:
    """Skip a node in which networks only end."""
    node = nodes[following]
    return following if node.nexts or node.kind is None else -1 - node.kind


def _after(price: Price, networks: Arrays) -> Arrays:
    added = networks + np.array([*price[:_PEAK], 0, 0], np.int64)[:, None]
    np.maximum(added[_PEAK], price[_PEAK], out=added[_PEAK])
    return added


def _ending(kind: int) -> Arrays:
    return np.array([0] * (_ROWS - 1) + [kind], np.int64)[:, None]


def _common(words: Sequence[Word]) -> int:
    """Return how many symbols all words begin with alike."""
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


def drawn_numbers(size: int, count: int, seed: int) -> list[int]:
    """Draw up to `count` distinct numbers below a size, each set of them equally likely."""
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    count = min(count, size)
    if size < LARGEST:
        return draw.sample(range(size), count)
    chosen: dict[int, None] = {}
    while len(chosen) < count:
        chosen[draw.randrange(size)] = None
    return list(chosen)
