"""Versions of everything that a run depends on, for issue reports."""

from __future__ import annotations

__all__ = ['collect_env']


def collect_env() -> dict[str, str]:
    """What mmengine collects of system, GPUs and PyTorch, and the versions of this package.

    Returns:
        Name -> text; `MMAction2` is `mmaction.__version__`, with `+` and the commit of a
        checkout.
    """
    from mmengine.utils.dl_utils import collect_env as collect_mmengine_env

    import mmaction

    from .environment import git_commit, versions

    found = {name: str(value) for name, value in collect_mmengine_env().items()}
    commit = git_commit()
    found['MMAction2'] = mmaction.__version__ + (f'+{commit[:7]}' if commit else '')
    for name, value in versions().items():
        if name not in ('python', 'platform', 'cuda', 'gpu', 'torch', 'torchvision'):
            found[name] = value or 'not installed'
    return found


if __name__ == '__main__':
    for name, value in collect_env().items():
        print(f'{name}: {value}')
