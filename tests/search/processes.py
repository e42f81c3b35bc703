"""Commands and scripts as users run them: processes of their own."""

import os
import subprocess
import sys


def python(folder, *words, code=0, **environment):
    """Run Python in a folder, and return what ended, which must be with a code."""
    done = subprocess.run(
        [sys.executable, *words],
        check=False,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == code, done.stderr
    return done
