"""Without the extra `hf`: one sentence where something of it is asked for."""

import sys

import pytest

from mmaction.errors import ConfigError
from mmaction.registry import MODELS
from mmaction.utils.checkpoint_reading import read_checkpoint
from tests.apis.conftest import tiny_config


@pytest.fixture(autouse=True)
def _hidden(monkeypatch):
    for name in ('transformers', 'peft', 'huggingface_hub'):
        monkeypatch.setitem(sys.modules, name, None)


def test_what_needs_the_extra_says_so(tmp_path):
    (tmp_path / 'config.json').write_text('{}')
    with pytest.raises(ConfigError, match=r"needs transformers: pip install 'dualformer\[hf\]'"):
        MODELS.build(dict(type=f'transformers.{tmp_path}'))
    cfg = tiny_config().model
    cfg.backbone.lora = dict(r=2, base='x.pth')
    with pytest.raises(ConfigError, match='lora needs peft'):
        MODELS.build(cfg)
    with pytest.raises(ConfigError, match='hf://org/repo needs huggingface_hub'):
        read_checkpoint('hf://org/repo')
