"""How fast five seeds are trained on this machine, against the plain loop: the nets and widths of
the project's targets.

    python -m tests.benchmarks.training [small|large]

Prints, for each net, images per second of the plain loop and of each of our ways (see `blocksearch
bench`), and in the end the median over the nets of the better way's ratio. That the ways train the
same is shown by tests/training/test_fused.py.
"""

import sys
from statistics import median

from blocksearch.arch.notation import parse
from blocksearch.data.splits import Split
from blocksearch.runs.bench import bench, with_batches
from blocksearch.runs.plan import RunSettings, task_from
from blocksearch.training.recipe import RECIPES

NETS = ("effnet", "mobilenet", "mobilenet_v2", "baseline")
WIDTHS = {"small": "8,16,32", "large": "64,128,256"}


def main(sizes: list[str]) -> None:
    for size in sizes or list(WIDTHS):
        ratios = []
        for name in NETS:
            network = parse(name, task_from("digits", WIDTHS[size]), dataset="digits")
            _, ways = bench(
                network,
                with_batches(
                    RunSettings(
                        protocol=Split("digits"),
                        recipe=RECIPES["fast"],
                        root=None,
                        ledger="none",
                        workers=None,
                    )
                ),
            )
            shown = "   ".join(
                f"{way.way} {way.images_per_second:,.0f}/s ({way.times_plain:.2f}×)" for way in ways
            )
            print(f"{size} {name}: {shown}", flush=True)
            ratios.append(max(way.times_plain for way in ways[1:]))
        print(
            f"{size}: {min(ratios):.2f} to {max(ratios):.2f} times the plain loop, median "
            f"{median(ratios):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
