"""The Dockerfiles: what can be told of them without a Docker engine."""

import fnmatch
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.repository import ROOT, repository_files

FILES = [ROOT / 'docker' / name for name in ('Dockerfile', 'Dockerfile.cpu')]


def instructions(path):
    """Pairs of an instruction and its arguments."""
    text = re.sub(r'^\s*#.*\n', '', path.read_text(), flags=re.MULTILINE).replace('\\\n', ' ')
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_both_images_leave_out_the_same_files():
    # Docker takes the ignore file that is called as the Dockerfile.
    assert len({Path(f'{path}.dockerignore').read_text() for path in FILES}) == 1


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_image(path):
    steps = instructions(path)
    kinds = [kind for kind, _ in steps]
    image = next(rest for kind, rest in steps if kind == 'FROM')
    assert ':' in image
    assert not image.endswith(':latest')
    users = [rest for kind, rest in steps if kind == 'USER']
    assert users == ['$USER_ID']
    assert ('ARG', 'USER_ID=1000') in steps
    # Everything of the project is made by the user, who can then write into it.
    after = kinds.index('USER')
    copies = [rest for kind, rest in steps[after:] if kind == 'COPY']
    assert kinds.count('COPY') == len(copies)
    for copied in copies:
        owner, *sources, _ = copied.split()
        assert owner == '--chown=user:user'
        assert all((ROOT / source).exists() for source in sources)
    # What both commands of the README set up is set up.
    assert ('RUN', '. tools/_setup.sh && set_up && set_up dev') in steps
    for name in ('quickstart', 'run_tests'):
        assert f'bash tools/{name}.sh' in path.read_text()
        assert 'set_up' in (ROOT / 'tools' / f'{name}.sh').read_text()
    for kind, rest in steps:
        if kind == 'RUN':
            subprocess.run(['bash', '-n', '-c', rest], check=True)
    lint = shutil.which('hadolint')
    if lint:
        done = subprocess.run([lint, str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_no_file_of_the_repository_is_left_out():
    lines = (ROOT / 'docker' / 'Dockerfile.dockerignore').read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith('#')]
    for name in repository_files():
        parts = name.parts
        parents = ['/'.join(parts[: i + 1]) for i in range(len(parts))]
        for pattern in patterns:
            anywhere = pattern.startswith('**/')
            tried = parts if anywhere else parents
            assert not fnmatch.filter(tried, pattern.removeprefix('**/')), (name, pattern)
