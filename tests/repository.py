"""The files of the repository, also where it is an unpacked archive without git."""

import os
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
_MADE = ('__pycache__', 'build', 'data', 'dist', 'node_modules', 'work_dirs')


def repository_files(pattern='*'):
    """Paths, relative to the root, of the files that belong to the repository.

    Args:
        pattern: Of the path; `*` takes slashes too.
    """
    if (ROOT / '.git').exists() and shutil.which('git'):
        command = ['git', 'ls-files', '--cached', '--others', '--exclude-standard', '-z']
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        names = [name for name in done.stdout.split('\0') if (ROOT / name).is_file()]
    else:
        names = list(_unpacked_files())
    return [Path(name) for name in sorted(names) if fnmatch(name, pattern)]


def _unpacked_files():
    """All files but those that running the tests or the quickstart makes."""
    for folder, folders, files in os.walk(ROOT):
        is_root = Path(folder) == ROOT
        folders[:] = [
            name
            for name in folders
            if not (name.startswith('.') and name not in ('.github', '.ci'))
            and not name.endswith('.egg-info')
            and name != '__pycache__'
            and not (is_root and name in _MADE)
        ]
        relative = os.path.relpath(folder, ROOT)
        for name in files:
            path = os.path.normpath(os.path.join(relative, name))
            is_weight = path.startswith('checkpoints/') and name != 'README.md'
            if path and not is_weight and not name.endswith('.pyc'):
                yield path
