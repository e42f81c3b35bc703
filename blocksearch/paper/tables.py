"""Lists the EffNet paper's Tables 2-7 as data, and counts its FLOPs column again.

One fact of the paper's count is not in its text: the baseline's classifier is counted on a 16×16
map, 16 times its real inputs. The published figure is compared with that count; the built network's
own count stands beside it.
"""

from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from blocksearch.arch.cost import cost
from blocksearch.arch.zoo import TASKS, baseline_flops, named_network


@dataclass(frozen=True)
class Row:
    """A printed row: accuracy in percent, FLOPs as printed (M or k), factor. `network` is None
    if the paper leaves it open.
    """

    label: str
    network: str | None
    accuracy: float
    flops: str
    factor: float


# fmt: off
TABLES: dict[int, tuple[str, tuple[Row, ...]]] = {
    2: ("cifar10", (Row("Baseline", "baseline", 82.78, "80.3M", 1.00),
                    Row("EffNet large", None, 85.02, "79.8M", 0.99),
                    Row("MobileNet", "mobilenet", 77.48, "5.8M", 0.07),
                    Row("ShuffleNet", "shufflenet", 77.30, "4.7M", 0.06),
                    Row("EffNet", "effnet", 80.20, "11.4M", 0.14))),
    3: ("svhn", (Row("Baseline", "baseline", 91.08, "3,563.5k", 1.00),
                 Row("EffNet large", None, 91.12, "3,530.7k", 0.99),
                 Row("MobileNet", "mobilenet", 85.64, "773.4k", 0.22),
                 Row("ShuffleNet", "shufflenet", 82.73, "733.1k", 0.21),
                 Row("EffNet", "effnet", 88.51, "517.6k", 0.14))),
    4: ("gtsrb", (Row("Baseline", "baseline", 94.48, "2,326.5k", 1.00),
                  Row("EffNet large", None, 94.82, "2,171.9k", 0.93),
                  Row("MobileNet", "mobilenet", 88.15, "533.0k", 0.23),
                  Row("ShuffleNet", "shufflenet", 88.99, "540.7k", 0.23),
                  Row("EffNet", "effnet", 91.79, "344.1k", 0.15))),
    5: ("cifar10", (Row("Baseline", "baseline", 82.78, "80.3M", 1.00),
                    Row("EffNet rate 6", "effnet_revised", 83.05, "30.0M", 0.37),
                    Row("MobileNet v2 rate 6", "mobilenet_v2", 79.10, "42.0M", 0.52),
                    Row("EffNet rate 4", "effnet_revised_4", 81.28, "21.2M", 0.26),
                    Row("MobileNet v2 rate 4", "mobilenet_v2_4", 78.91, "29.2M", 0.36),
                    Row("EffNet rate 2", "effnet_revised_2", 80.02, "12.4M", 0.15),
                    Row("MobileNet v2 rate 2", "mobilenet_v2_2", 76.47, "16.4M", 0.38),
                    Row("mob_imp", "mob_imp", 84.25, "44.0M", 0.55))),
    6: ("svhn", (Row("Baseline", "baseline", 91.08, "3,563.5k", 1.00),
                 Row("EffNet rate 6", "effnet_revised", 87.86, "1,798.7k", 0.50),
                 Row("MobileNet v2 rate 6", "mobilenet_v2", 87.16, "2,130.4k", 0.60),
                 Row("EffNet rate 4", "effnet_revised_4", 87.96, "1,425.4k", 0.40),
                 Row("MobileNet v2 rate 4", "mobilenet_v2_4", 86.93, "1,646.6k", 0.46),
                 Row("EffNet rate 2", "effnet_revised_2", 87.30, "1,052.2k", 0.30),
                 Row("MobileNet v2 rate 2", "mobilenet_v2_2", 86.71, "1,162.8k", 0.33),
                 Row("mob_imp", "mob_imp", 88.78, "2,506.7k", 0.70))),
    7: ("gtsrb", (Row("Baseline", "baseline", 94.48, "2,326.5k", 1.00),
                  Row("EffNet rate 6", "effnet_revised", 92.62, "1,045.5k", 0.45),
                  Row("MobileNet v2 rate 6", "mobilenet_v2", 92.82, "1,159.2k", 0.50),
                  Row("EffNet rate 4", "effnet_revised_4", 91.97, "859.1k", 0.37),
                  Row("MobileNet v2 rate 4", "mobilenet_v2_4", 91.56, "934.9k", 0.40),
                  Row("EffNet rate 2", "effnet_revised_2", 88.91, "672.8k", 0.29),
                  Row("MobileNet v2 rate 2", "mobilenet_v2_2", 90.74, "710.7k", 0.31),
                  Row("mob_imp", "mob_imp", 93.25, "1,408.0k", 0.61))),
}
# fmt: on


def printed_difference(number: int, reference: str, value: str) -> float | None:
    """Return by how many points a table has one network above another; None if it lacks one.

    >>> round(printed_difference(7, "mobilenet_v2_2", "effnet_revised_2"), 2)
    -1.83
    """
    rows = {row.network or "effnet_large": row.accuracy for row in TABLES[number][1]}
    return rows[value] - rows[reference] if {reference, value} <= set(rows) else None


@dataclass(frozen=True, kw_only=True)
class FlopsCell:
    """One FLOPs cell: as published, the count that it is compared with, and the built network's own
    count.

    Where the paper does not specify the network (`EffNet large`) the counts and `matches` are None.
    """

    table: int
    dataset: str
    label: str
    network: str
    published: str
    flops: int | None = None
    flops_actual: int | None = None

    @property
    def matches(self) -> bool | None:
        """Whether the count is printed as it was published."""
        return None if self.flops is None else printed(self.flops, self.published) == self.published

    @property
    def difference(self) -> int | None:
        """Count minus published figure, in FLOPs."""
        return None if self.flops is None else round(self.flops - printed_value(self.published))

    def record(self) -> dict[str, Any]:
        """Return a flat record; `rounded` is the count as the paper would print it."""
        return asdict(self) | {
            "matches": self.matches,
            "published_flops": int(printed_value(self.published)),
            "rounded": None if self.flops is None else printed(self.flops, self.published),
            "difference": self.difference,
        }


def flops_cells() -> list[FlopsCell]:
    """Count every FLOPs cell of Tables 2-7."""
    return [_cell(table, dataset, row) for table, (dataset, rows) in TABLES.items() for row in rows]


def _cell(table: int, dataset: str, row: Row) -> FlopsCell:
    if row.network is None:
        return FlopsCell(
            table=table,
            dataset=dataset,
            label=row.label,
            network="effnet large",
            published=row.flops,
        )
    network = named_network(row.network, TASKS[dataset], dataset=dataset)
    actual = cost(network.layers).flops
    compared = baseline_flops(TASKS[dataset], "published") if row.network == "baseline" else actual
    return FlopsCell(
        table=table,
        dataset=dataset,
        label=row.label,
        network=row.network,
        published=row.flops,
        flops=compared,
        flops_actual=actual,
    )


def printed(flops: int, like: str) -> str:
    """Round a count to the unit and digits of a published figure."""
    value = (Decimal(flops) / _unit(like)).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return f"{value:,}{like[-1]}"


def printed_value(figure: str) -> Decimal:
    """Return a published figure in FLOPs."""
    return Decimal(figure[:-1].replace(",", "")) * _unit(figure)


def _unit(figure: str) -> int:
    return {"M": 10**6, "k": 10**3}[figure[-1]]
