"""Planning: from settings to jobs, without a look at any pixel."""

from blocksearch.arch.zoo import TASKS, named_network
from blocksearch.data import load
from blocksearch.data.splits import Split
from blocksearch.runs.plan import RunSettings, experiment
from blocksearch.training.recipe_text import recipe_named
from tests.data.test_data import write_gtsrb


def test_planning_reads_no_pixels(tmp_path):
    write_gtsrb(tmp_path)
    load("gtsrb", "train", tmp_path)
    pixels = tmp_path / ".blocksearch" / "gtsrb-train" / "images.npy"
    pixels.unlink()
    recipe = recipe_named("fast", 1, {})
    settings = RunSettings(
        protocol=Split("gtsrb"),
        recipe=recipe,
        root=tmp_path,
        ledger=str(tmp_path / "runs.db"),
        workers=1,
    )
    planned = experiment(settings, named_network("effnet", TASKS["gtsrb"]))
    assert (planned.images.training, planned.images.evaluation) == (43 * 2, 43 * 2)
    assert not pixels.exists()  # decoding again would have put it there
