"""Configures images of a user's own, in the fields that Python and the command line share."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from blocksearch.data.datasets import DEFAULT
from blocksearch.errors import ConfigError, check_fields

SIDES = (8, 224)  # of images that networks here are for


def suits(sides: Sequence[int]) -> bool:
    """Return whether networks here are for images of that height and width."""
    return SIDES[0] <= min(sides) <= max(sides) <= SIDES[1]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and for images of one's own how pictures become images of one shape.

    `resize` is height x width, such as "64x64": a picture is stretched to it, whole. `group_by` is
    a column of a listing, or a regular expression for a picture's path, whose first group (or
    whole match) names the pictures that stay together in splits. Raises ConfigError.

    >>> DataConfig(resize="48x64").size
    (48, 64)
    """

    dataset: str = field(
        default=DEFAULT,
        metadata={
            "help": "Data set: a name (`blocksearch list`), a folder with a folder per class, a "
            ".csv listing, an .npz file, or a pair of .npy files."
        },
    )
    resize: str | None = field(
        default=None,
        metadata={"help": "Bring own pictures to HEIGHTxWIDTH, such as 64x64; stretched, not cut."},
    )
    grey: bool = field(default=False, metadata={"help": "Make own pictures grey: one channel."})
    group_by: str | None = field(
        default=None,
        metadata={
            "help": "Keep own pictures together by a column of the listing, or a regular "
            "expression on the path such as '(patient[0-9]+)_'."
        },
    )
    skip_damaged: bool = field(
        default=False, metadata={"help": "Leave out own pictures that cannot be read."}
    )

    def __post_init__(self) -> None:
        text: object = self.resize  # anything, from Python: an example of a size helps more
        if text is not None and (not isinstance(text, str) or self.size is None):
            raise ConfigError(
                f"resize must be height x width of {SIDES[0]} to {SIDES[1]}, such as 64x64, but "
                f"got {self.resize!r}"
            )
        check_fields(self)
        if self.group_by is not None and not self.group_by.strip():
            raise ConfigError("group_by must be a column or a regular expression, but is empty")

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width to which pictures are brought, or None."""
        found = re.fullmatch(r"\s*([0-9]{1,4})\s*[x×]\s*([0-9]{1,4})\s*", self.resize or "")
        if found is None:
            return None
        size = int(found[1]), int(found[2])
        return size if suits(size) else None

    @property
    def changes(self) -> tuple[str, ...]:
        """Name what is said of images of one's own: nothing of a data set with a name."""
        names = ("resize", "grey", "group_by", "skip_damaged")
        return tuple(name for name in names if getattr(self, name))
