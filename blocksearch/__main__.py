"""Runs `python -m blocksearch` as `blocksearch`. Ctrl-C before it begins ends it without a word."""

import signal


def main() -> None:
    """Run the command line, which takes a moment to be loaded."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from blocksearch.cli import main as begin

    begin()


if __name__ == "__main__":
    main()
