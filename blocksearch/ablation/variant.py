"""Defines one row of an ablation, a value of a factor and the reference it is compared with."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from blocksearch.arch.network import Network
from blocksearch.training.recipe import Recipe

Arm: TypeAlias = tuple[Network, Recipe | None]  # a network, and its recipe where it has its own


class Role(StrEnum):
    """What a row of an ablation is."""

    REFERENCE = "reference"
    VARIANT = "variant"
    INTERACTION = "interaction"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One value of one factor in a network, and the reference that it is compared with.

    A reference has itself for one. `network` is None if the value does not apply to the block, and
    `rule` says why. `given_factor=given_value` is another factor's value that reference and variant
    share. With `equal_flops`, the widths of a variant that is `rescaled` fill the reference's
    FLOPs. An interaction asks how far the variant's effect differs from that of `minus`, the same
    variant under the first given value. `recipe` and `reference_recipe` are how the two are
    trained, None if that is the command's one recipe.
    """

    factor: str
    value: str
    network: Network | None
    reference: Network
    reference_value: str
    role: Role = Role.VARIANT
    rule: str = ""
    given_factor: str = ""
    given_value: str = ""
    equal_flops: bool = False
    rescaled: bool = False
    minus: "Variant | None" = None
    recipe: Recipe | None = None
    reference_recipe: Recipe | None = None

    @property
    def is_reference(self) -> bool:
        return self.role is Role.REFERENCE

    @property
    def is_interaction(self) -> bool:
        return self.role is Role.INTERACTION

    @property
    def given(self) -> str:
        """Under what the variant is compared, as it is written for people."""
        under = f"{self.given_factor}={self.given_value}" if self.given_factor else ""
        if self.minus:
            under += f" − {self.minus.given_value}"
        return ", ".join(filter(None, (under, "equal FLOPs" if self.equal_flops else "")))

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All networks that the comparison needs, with the recipe of each."""
        own: tuple[Arm, ...] = ((self.reference, self.reference_recipe),)
        own += ((self.network, self.recipe),) if self.network else ()
        return own + (self.minus.arms if self.minus else ())

    @property
    def networks(self) -> tuple[Network, ...]:
        """All networks that the comparison needs."""
        return tuple(network for network, _ in self.arms)

    @property
    def arm_digests(self) -> tuple[tuple[str, str], ...]:
        """What tells the arms of one comparison from those of another."""
        return tuple((net.digest, recipe.digest if recipe else "") for net, recipe in self.arms)

    @property
    def channels(self) -> tuple[int, ...] | None:
        """The channels in each stage that a bottleneck, or the least channels of one, come to."""
        known = self.network is not None and self.network.skeleton is None
        if self.network is None or not known or self.factor not in ("bottleneck", "minimum"):
            return None
        return tuple(channels for channels in self.network.bottlenecks if channels is not None)

    @property
    def shown(self) -> str:
        """The value as it is written for people, with what it came to."""
        channels = f": {','.join(map(str, self.channels))}" if self.channels else ""
        widths = f" at {self.network.task.widths_text}" if self.network and self.rescaled else ""
        return self.value + widths + channels

    @property
    def compared(self) -> bool:
        """Whether it is another network than its reference, or is trained otherwise; of an
        interaction, whether the two pairs differ.
        """
        digests = self.arm_digests
        if self.network is None or digests[0] == digests[1]:
            return False
        return self.minus is None or digests[:2] != digests[2:]
