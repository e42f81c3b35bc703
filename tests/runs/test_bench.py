"""The benchmark's counts, and that it answers."""

import json
import subprocess
import sys

import pytest

from blocksearch.arch.layers import Activation, Conv, Join, Linear, Norm, Shape
from blocksearch.runs.bench import traffic


def test_traffic_of_a_block_by_hand():
    """A 4-channel 8×8 convolution to 6 channels, normalised and rectified: 3·256 + 2·384 + 8·384
    floats.
    """
    conv = Conv(Shape(4, 8, 8), 6, (3, 3))
    unit = (conv, Norm(conv.output), Activation(conv.output, "relu"))
    assert traffic(unit) == 4 * (3 * 256 + 2 * 384 + 8 * 384)
    assert (
        traffic((Join(conv.input, "concatenate", (unit, ())),)) == traffic(unit) + 4 * 2 * 10 * 64
    )
    assert traffic((Linear(Shape(4, 1, 1), 3),)) == 4 * (12 + 6)


@pytest.mark.slow
def test_the_command_times_every_way_beside_the_plain_loop():
    command = [
        sys.executable,
        "-m",
        "blocksearch",
        "bench",
        "effnet",
        "--widths",
        "4,4,4",
        "--max-images",
        "2048",
        "--batch",
        "32",
        "--json",
    ]
    answer = json.loads(subprocess.check_output(command, text=True))
    assert "only 2,048 of 16,000 training images" in answer["title"]
    assert [way["way"] for way in answer["ways"]] == ["plain", "serial", "fused 3+2"]
    assert answer["ways"][0]["times_plain"] == 1
    assert all(
        0 < way["of_memory_floor"] < 1 and way["images_per_second"] > 0 for way in answer["ways"]
    )
