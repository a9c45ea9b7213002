import pytest
from mmengine.config import Config

from mmaction.config.check import check_config
from mmaction.errors import ConfigError


def test_zero_optimizer_accepts_inner_arguments():
    def cfg(**more):
        kinds = dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW')
        return Config(dict(optim_wrapper=dict(optimizer=dict(**kinds, lr=1e-3, **more))))

    check_config(cfg(betas=(0.9, 0.99)))
    with pytest.raises(ConfigError, match=r'optimizer\.momentum: .* takes no argument'):
        check_config(cfg(momentum=0.9))
