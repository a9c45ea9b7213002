"""DualFormer-on-mmaction: video action recognition on mmengine's runner.

The import name `mmaction`, the registries and the config keys are those of
mmaction2 1.x. Importing this package is cheap: torchvision, timm and the
video decoders load when a model or dataset first needs them.
"""

from importlib.metadata import PackageNotFoundError, distribution

from .mmaction2_names import find_mmaction2_names
from .version import __version__

__all__ = ['__version__']


def _refuse_mmaction2() -> None:
    """Raise `ImportError` where mmaction2 is installed: both packages are
    called `mmaction`, so one would load half of the other's files."""
    try:
        found = distribution('mmaction2')
    except PackageNotFoundError:
        return
    raise ImportError(
        f'mmaction2 {found.version} is installed in this environment. It and dualformer share '
        'the import name "mmaction" and cannot live side by side: run '
        '"pip uninstall mmaction2", or use a fresh virtual environment.'
    )


_refuse_mmaction2()
find_mmaction2_names()
