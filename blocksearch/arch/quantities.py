"""Lists the exact costs in one table, for networks, spaces, budgets, objectives, tables and files.

An exact cost is added in one place, as a row here: a multiple of another cost, or a number of each
layer, which is summed. A largest value, such as the peak, needs a field of `Cost` as well.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocksearch.errors import SpecError, unknown

if TYPE_CHECKING:
    from blocksearch.arch.cost import Layer


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """An exact cost: its name, how tables call it, its unit, and what it means.

    It is a `multiple` of another, or `counted` of each layer and summed; a layer made of layers is
    counted by those. Raises TypeError if it is neither, and no field of `Cost`.
    """

    name: str
    label: str
    unit: str
    meaning: str
    counted: "Callable[[Layer], int] | None" = None
    multiple: tuple[int, str] | None = None

    def __post_init__(self) -> None:
        stored = self.name in (*_SUMMED, _PEAK)
        if stored + (self.counted is not None) + (self.multiple is not None) != 1:
            raise TypeError(f"cost {self.name} must be counted of a layer, or be a multiple")

    @property
    def base(self) -> tuple[int, str]:
        """How many times which row of costs it is."""
        if self.multiple is None:
            return 1, self.name
        more, row = QUANTITIES[self.multiple[1]].base
        return self.multiple[0] * more, row


_SUMMED, _PEAK = ("macs", "params", "activations"), "peak_activations"
_ROWS = (
    Quantity(
        name="flops",
        label="FLOPs",
        unit="operations, two for each multiply-accumulate",
        meaning="2 × MACs, {by}",
        multiple=(2, "macs"),
    ),
    Quantity(
        name="macs",
        label="MACs",
        unit="multiply-accumulates",
        meaning="multiply-accumulates of convolutions and classifier",
    ),
    Quantity(
        name="params",
        label="params",
        unit="numbers",
        meaning="normalisation and bias included",
    ),
    Quantity(
        name="activations",
        label="activations",
        unit="values",
        meaning="values that convolutions and classifier hand on, summed",
    ),
    Quantity(
        name="peak_activations",
        label="peak activations",
        unit="values",
        meaning="values alive at once, shortcuts too; {bytes:,} bytes",
    ),
)
QUANTITIES = {each.name: each for each in _ROWS}
METRICS = tuple(QUANTITIES)
COSTS = tuple(name for name in METRICS if name != "macs")  # half the FLOPs, so no other objective
COUNTED = tuple(each.name for each in _ROWS if each.counted)
COUNTERS = tuple(each.counted for each in _ROWS if each.counted)
ROWS = (*_SUMMED, *COUNTED, _PEAK)  # what is priced: all but the last add up, which is the largest
EARLIER_NAMES = {"floats": "activations", "peak": "peak_activations"}  # in stored texts


def metric_named(name: str) -> str:
    """Return the name of a metric; stored texts may have an earlier one.

    >>> metric_named("peak")
    'peak_activations'

    Raises ConfigError with the known names.
    """
    current = EARLIER_NAMES.get(name, name)
    if current not in METRICS:
        raise unknown("cost", name, METRICS)
    return current


class Priced:
    """Something priced: all of `METRICS` are attributes of it. `counts` has what is `COUNTED` of
    layers, nothing where that is not known.
    """

    counts: tuple[Any, ...]

    def of(self, quantity: str) -> Any:
        """Return one cost by name. Raises ConfigError for an unknown one."""
        return getattr(self, metric_named(quantity))

    def named(self, names: Iterable[str] = METRICS) -> dict[str, Any]:
        """Return costs by name, those of the names that are known."""
        known = [n for n in names if self.counts or QUANTITIES[n].base[1] not in COUNTED]
        return {name: self.of(name) for name in known}


def _reader(quantity: Quantity) -> property:
    def read(priced: Priced) -> Any:
        times, row = quantity.base
        if row != quantity.name:
            return times * getattr(priced, row)
        if not priced.counts:
            raise uncounted(row)
        return priced.counts[COUNTED.index(row)]

    return property(read, doc=f"Return the {quantity.label}: {quantity.unit}.")


for _each in _ROWS:
    if _each.counted or _each.multiple:
        setattr(Priced, _each.name, _reader(_each))


def uncounted(name: str) -> SpecError:
    """Return the error that a cost is not known of a user's model."""
    return SpecError(f"{name} is counted of each layer, and a model of your own has none to count")
