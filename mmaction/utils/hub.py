"""Files of the Hugging Face Hub, and folders that look like a snapshot of it.

Addresses are `hf://ORG/REPO[@REVISION][:FILE]`. Only JSON files and .safetensors are ever
fetched or read: no pickles, no code of a repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mmaction.errors import CheckpointError, ConfigError
from mmaction.utils.suggest import missing_file

__all__ = [
    'SCHEME',
    'WEIGHTS',
    'HubAddress',
    'fetch',
    'hub_errors',
    'is_address',
    'model_folder',
    'require',
    'snapshot',
]

SCHEME = 'hf://'
WEIGHTS = 'model.safetensors'
_ADDRESS = re.compile(
    r'(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^:@\s]+))?(?::(?P<file>[^:\s]+))?'
)
_MOVING = ('main', 'master', 'HEAD')


@dataclass(frozen=True)
class HubAddress:
    """`hf://ORG/REPO[@REVISION][:FILE]`, or the same without the scheme.

    Attributes:
        repo: `ORG/REPO`.
        revision: Commit, tag or branch; None for the newest.
        file: Name in the repository, or None.
    """

    repo: str
    revision: str | None = None
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """Read an address.

        Raises:
            ConfigError: It is none.
        """
        found = _ADDRESS.fullmatch(text.removeprefix(SCHEME))
        file = found['file'] if found else None
        if found is None or (file and ('..' in Path(file).parts or file.startswith('/'))):
            raise ConfigError(
                f'{text!r} is no address of the Hub: expected hf://ORG/REPO[@REVISION][:FILE]'
            )
        return cls(found['repo'], found['revision'], file)


def is_address(source: str | Path) -> bool:
    """Whether a source is on the Hub."""
    return str(source).startswith(SCHEME)


def require(module: str, what: str) -> None:
    """Raise `ConfigError` where a library of the extra `hf` is missing.

    Args:
        module: The library, as it is imported.
        what: What needs it, for the message.
    """
    try:
        missing = find_spec(module) is None
    except (ImportError, ValueError):  # hidden on purpose
        missing = True
    if missing:
        raise ConfigError(f"{what} needs {module}: pip install 'dualformer[hf]'")


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into one sentence.

    Raises:
        CheckpointError: In the place of its errors.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except (OSError, HfHubHTTPError, HFValidationError, ValueError) as error:
        if isinstance(error, (CheckpointError, ConfigError)):
            raise
        text = ' '.join(str(error).split())
        reason = re.split(r'(?<=[.:]) ', text)[0].rstrip('.:') or type(error).__name__
        raise CheckpointError(
            f'{what} could not be fetched ({reason:.200}); without a network, give a local folder '
            'instead'
        ) from error


def fetch(address: str) -> Path:
    """The local copy of a file on the Hub, `model.safetensors` if none is named.

    Raises:
        ConfigError: The address is none, or huggingface_hub is missing.
        CheckpointError: It cannot be fetched, or is no .safetensors or .json file.
    """
    require('huggingface_hub', address)
    place = HubAddress.parse(address)
    file = place.file or WEIGHTS
    if not file.endswith(('.safetensors', '.json')):
        raise CheckpointError(
            f'{address}: only .safetensors and .json files are read from the Hub, since other '
            'formats may run code'
        )
    from huggingface_hub import hf_hub_download

    with hub_errors(address):
        return Path(hf_hub_download(place.repo, file, revision=place.revision))


def snapshot(address: str, weights: bool = True) -> Path:
    """The folder of a repository's JSON files and, with `weights`, its .safetensors.

    Raises:
        ConfigError: The address is none, or huggingface_hub is missing.
        CheckpointError: It cannot be fetched.
    """
    require('huggingface_hub', address)
    place = HubAddress.parse(address)
    from huggingface_hub import snapshot_download

    patterns = ['*.json', *(['*.safetensors'] if weights else [])]
    with hub_errors(address):
        return Path(snapshot_download(place.repo, revision=place.revision, allow_patterns=patterns))


def model_folder(name: str, weights: bool = True) -> Path:
    """The folder of a model of transformers: a local one, or the snapshot of `ORG/REPO@REVISION`.

    Raises:
        ConfigError: There is no such folder, it holds no config.json, or the revision is not
            pinned.
        CheckpointError: The snapshot cannot be fetched.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / 'config.json').is_file():
            raise ConfigError(f'{folder} is no model of transformers: it holds no config.json')
        return folder
    if _ADDRESS.fullmatch(name) is None or name.startswith('.'):
        raise ConfigError(missing_file(folder, 'folder of a model of transformers'))
    place = HubAddress.parse(name)
    if place.revision is None or place.revision in _MOVING:
        raise ConfigError(
            f'there is no folder {name}; for the model {place.repo} of the Hub pin a revision, a '
            f'commit or a tag, as in transformers.{place.repo}@0123abcd, so that a later run '
            'finds the same weights'
        )
    return snapshot(name, weights)
