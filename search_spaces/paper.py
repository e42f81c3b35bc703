"""Which of the paper's blocks, Section 3's and Section 6's, is worth its cost?

All of their factors at once, on the widths that the paper has for SVHN.
"""

from blocksearch import TASKS, load_space

WIDTHS = TASKS["svhn"].widths

grammar = (
    (load_space("section3") | load_space("revised"))
    .on(TASKS["svhn"])
    .extend(widths=[WIDTHS])
    .fix(widths=WIDTHS)
)
