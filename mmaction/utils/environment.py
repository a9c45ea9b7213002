"""What a run was made with: command, versions, commit, seed, data."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ['command', 'facts_of_run', 'git_commit', 'versions']

PACKAGES = (
    'dualformer',
    'torch',
    'torchvision',
    'onedl-mmengine',
    'numpy',
    'decord2',
    'av',
    'opencv-python-headless',
    'timm',
)


def versions() -> dict[str, str | None]:
    """Versions of Python, the packages and the GPU's libraries; None where one is missing."""
    found: dict[str, str | None] = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    if torch.cuda.is_available():
        found['cuda'] = torch.version.cuda
        found['gpu'] = torch.cuda.get_device_name()
    found['platform'] = platform.platform()
    return found


def git_commit(folder: str | Path | None = None) -> str | None:
    """The commit of a checkout, with `+changes` where files differ from it.

    Args:
        folder: The checkout; by default that of this package.

    Returns:
        None where it is no checkout or git is not installed.
    """
    folder = Path(folder) if folder is not None else Path(__file__).resolve().parents[2]
    if not (folder / '.git').exists():
        return None

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ['git', '-C', str(folder), *arguments],
            capture_output=True,
            encoding='utf-8',
            errors='replace',
            check=True,
            timeout=20,
        )
        return done.stdout.strip()

    try:
        commit = git('rev-parse', 'HEAD')
        return commit + ('+changes' if git('status', '--porcelain', '-uno') else '')
    except (OSError, subprocess.SubprocessError):
        return None


def command() -> list[str]:
    """The command line of this process."""
    return [sys.executable, *sys.argv]


def facts_of_run(**more: Any) -> dict[str, Any]:
    """Command, folder, commit and versions, with what is given besides."""
    return dict(
        command=command(), folder=str(Path.cwd()), commit=git_commit(), **more, versions=versions()
    )
