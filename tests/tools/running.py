"""Commands of tools/ in this process: a new one would spend seconds on importing torch."""

import io
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]


def run_tool(name, *arguments, cwd=ROOT, status=0):
    """Run `python tools/NAME ARGUMENTS` in a folder; what it prints, as of a subprocess.

    What a process of its own shows, such as warnings at its end, has to be tested with one.
    """
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    os.chdir(cwd)
    try:
        with (
            mock.patch.object(sys, 'argv', [name, *map(str, arguments)]),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            # Not as '__main__', which may end the process.
            code = runpy.run_path(str(ROOT / 'tools' / name))['main']() or 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        os.chdir(before)
    done = SimpleNamespace(stdout=out.getvalue(), stderr=err.getvalue())
    assert code == status, f'{done.stdout}\n{done.stderr}'
    return done
