"""Lists the commands with the module of each, which is loaded when one of them is called."""

from importlib import import_module
from typing import Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

# in the order of `--help`; each line is the first of its command's own help
COMMANDS = {
    "inspect": {
        "show": "Print the layers of a network, like the paper's Table 1.",
        "cost": "Print what a network costs, before it is built.",
        "export": "Write a network with trained weights to a file.",
        "replace": "Put blocks in the place of your own model's convolutions.",
        "space": "Show the size and costs of a space, before any training.",
        "list": "List data sets, networks, factors, spaces and recipes.",
        "data": "List, check and fetch data sets.",
    },
    "run": {
        "train": "Train one network, and judge it on the validation split.",
        "ablate": "Vary one factor of a block, and say what it does.",
        "compare": "Compare scores that were measured elsewhere.",
        "bench": "Time the training of five seeds on this machine.",
        "verify": "Train stored runs again, and compare them bit by bit.",
        "merge": "Copy into database A the runs of B that A lacks.",
    },
    "search": {
        "search": "Search a space for its best networks, and show the front.",
        "pareto": "Show the front of a study, cheapest network first.",
        "importance": "Show how important each factor is for being on the front.",
        "gain": "Compare a network with random networks of a space.",
        "tabulate": "Train every network of a small space, into one table.",
        "test": "Test the front of a study on the test images, once.",
    },
    "reproduce": {"reproduce": "Reproduce the EffNet paper's tables and claims."},
}


class Deferred(TyperCommand):
    """Stand for a command whose module is loaded when the command is called."""

    def __init__(self, name: str, summary: str, module: str) -> None:
        super().__init__(name, help=summary, rich_markup_mode="markdown")
        self.module = module

    def load(self) -> TyperCommand | TyperGroup:
        """Import the module of the command; return the command itself."""
        group = get_group(import_module(f"blocksearch.cli.{self.module}").app)
        found = group.commands.get(self.name or "")
        assert isinstance(found, TyperCommand | TyperGroup), self.name
        return found

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Parse a call as the command itself does."""
        return self.load().make_context(*arguments, **options)


class Few(TyperGroup):
    """A group whose commands are all listed where one is none of them, so that none is guessed.

    `elsewhere` says what another command does.
    """

    elsewhere = ""

    def __init__(self, **options: Any) -> None:
        super().__init__(**(options | {"suggest_commands": False}))


class Commands(TyperGroup):
    """Hold the commands of `COMMANDS`, so that `--help` lists them and loads none."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for module, summaries in COMMANDS.items():
            for name, summary in summaries.items():
                self.add_command(Deferred(name, summary, module))
