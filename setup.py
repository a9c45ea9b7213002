"""The one build step that pyproject.toml cannot express: configs/ travels in the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copy configs/ to mmaction/configs of the built package (not of an editable install)."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, 'mmaction', 'configs')
            shutil.copytree('configs', target, dirs_exist_ok=True)


setup(cmdclass={'build_py': BuildWithConfigs})
