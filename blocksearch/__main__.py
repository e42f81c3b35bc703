"""`python -m blocksearch` is `blocksearch`."""

from blocksearch.cli import main

if __name__ == "__main__":
    main()
