import pytest
import torch

from mmaction.errors import ConfigError
from tests.engine.toy import Run, toy_config


@pytest.mark.dist
def test_batch_norm_statistics_equal_on_all_ranks(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.custom_hooks.append(dict(type='SaveBuffers'))
    Run(cfg, 2).check()
    first, second = (torch.load(tmp_path / f'buffers_{rank}.pth') for rank in (0, 1))
    assert len(first) == 3
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_sync_bn_rejects_unknown_values(tmp_path):
    from mmaction.distributed.sync_batch_norm import synchronize_batch_norm

    with pytest.raises(ConfigError, match="sync_bn is 'torch' or False, not 'mmcv'"):
        synchronize_batch_norm(torch.nn.BatchNorm3d(2), 'mmcv', 'cpu')
    assert (
        type(synchronize_batch_norm(torch.nn.BatchNorm3d(2), False, 'cpu')) is torch.nn.BatchNorm3d
    )
