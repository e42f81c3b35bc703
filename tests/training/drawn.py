"""Drawn images to train on, prepared as a data set's are, and a whole training of one seed."""

from blocksearch.arch.layers import Layers
from blocksearch.data.sets import digits
from blocksearch.data.splits import Images, Prepared, normalisation
from blocksearch.training.outcome import Outcome
from blocksearch.training.recipe import Recipe
from blocksearch.training.trainer import Training


def drawn_data(count: int, learnt: int) -> Prepared:
    """Draw `count` images of digits; the first are learnt from, the others judge."""
    images, labels = digits.draw(count, seed=3)
    learn, judge = (
        Images(pixels=images[:learnt], labels=labels[:learnt]),
        Images(pixels=images[learnt:], labels=labels[learnt:]),
    )
    return Prepared(
        training=learn, evaluation=judge, normalisation=normalisation(learn), digest="d"
    )


def train(layers: Layers, data: Prepared, recipe: Recipe, seed: int) -> Outcome:
    """Train one seed to the recipe's horizon."""
    training = Training(layers, data, recipe, [seed])
    while not training.finished:
        training.step()
    return training.outcomes()[0]
