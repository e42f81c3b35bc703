"""Read an untrusted file in a process that notices whatever would run code.

python -m tests.fire.audited KIND FILE: the hook is armed after a benign file was read, so that
everything is imported by then; a name of an event that came is printed.
"""

import sys

EVENTS = ("pickle.find_class", "exec", "os.system", "os.exec", "subprocess.Popen", "socket.connect")
LIBRARIES = (sys.prefix, sys.base_prefix, "<sqlalchemy generated __init__ for class v")
FORKS = ("os.fork", "os.forkpty", "os.posix_spawn", "socket.bind", "ctypes.dlopen")


def read(kind: str, file: str) -> None:
    """Read a file as the commands do."""
    from contextlib import closing, suppress
    from pathlib import Path

    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from blocksearch.errors import BlocksearchError
    from blocksearch.runs.ledger import Ledger
    from blocksearch.search.summary import summarise
    from blocksearch.training.weights import load

    with suppress(BlocksearchError, SafetensorError):
        match kind:
            case "study":
                summarise(file)
            case "ledger":
                with closing(Ledger(file, read_only=True)) as ledger:
                    for run in ledger.runs():
                        ledger.layers(run.key.network)
                    ledger.reports()
            case "checkpoint":
                load(Path(file))
            case "weights":
                load_file(file)
            case "gadget":  # what must be noticed
                import numpy as np

                np.load(file, allow_pickle=True)


def main() -> None:
    """Print the events that came while the second file was read."""
    kind, benign, file = sys.argv[1:]
    read("checkpoint" if kind == "gadget" else kind, benign)
    armed = [True]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        # libraries run their own files when they are imported, and Optuna's storage its migrations
        # at each opening, for whose classes SQLAlchemy generates code
        if armed and event in (*EVENTS, *FORKS):
            code = arguments[0] if event == "exec" else None
            if not getattr(code, "co_filename", "").startswith(LIBRARIES):
                print(event, arguments)

    sys.addaudithook(hook)
    read(kind, file)
    armed.clear()


if __name__ == "__main__":
    main()
