"""Drawn images to train on, prepared as a data set's are."""

from blocksearch.data import digits
from blocksearch.data.splits import Images, Prepared, normalisation


def drawn_data(count: int, learnt: int) -> Prepared:
    """Draw `count` images of digits; the first are learnt from, the others judge."""
    images, labels = digits.draw(count, seed=3)
    learn, judge = (
        Images(images[:learnt], labels[:learnt]),
        Images(images[learnt:], labels[learnt:]),
    )
    return Prepared(learn, judge, normalisation(learn), "d")
