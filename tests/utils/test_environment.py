"""What a run was made with."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmaction.utils.environment import command, facts_of_run, git_commit, versions


def test_versions_of_python_and_the_packages(monkeypatch):
    found = versions()
    assert found['python'].startswith(f'{sys.version_info.major}.{sys.version_info.minor}.')
    assert torch.__version__.startswith(found['torch'])
    monkeypatch.setattr('mmaction.utils.environment.PACKAGES', ('no-such-package',))
    assert versions()['no-such-package'] is None


@pytest.mark.skipif(shutil.which('git') is None, reason='no git')
def test_commit_of_a_checkout_and_whether_files_differ(tmp_path):
    def git(*arguments):
        settings = ('-c', 'user.name=a', '-c', 'user.email=a@example.org')
        done = subprocess.run(
            ['git', '-C', tmp_path, *settings, *arguments], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert git_commit(tmp_path) is None
    git('init', '--quiet')
    assert git_commit(tmp_path) is None  # no commit yet
    (tmp_path / 'a.txt').write_text('1')
    git('add', 'a.txt')
    git('commit', '--quiet', '-m', 'one')
    commit = git('rev-parse', 'HEAD')
    assert git_commit(tmp_path) == commit
    (tmp_path / 'untracked.txt').write_text('1')
    assert git_commit(tmp_path) == commit
    (tmp_path / 'a.txt').write_text('2')
    assert git_commit(tmp_path) == f'{commit}+changes'


def test_facts_of_a_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['train.py', 'a b.py'])
    facts = facts_of_run(seed=3)
    assert facts['command'] == command() == [sys.executable, 'train.py', 'a b.py']
    assert facts['folder'] == str(Path(tmp_path).resolve())
    assert facts['seed'] == 3
    assert set(facts) == {'command', 'folder', 'commit', 'seed', 'versions'}
