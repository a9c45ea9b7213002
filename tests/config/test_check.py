import pytest
from mmengine.config import Config

from mmaction.config.check import check_config
from mmaction.engine.optimizers import LearningRateDecayOptimizerConstructor
from mmaction.errors import ConfigError
from mmaction.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
class DecayWithWarmHead(LearningRateDecayOptimizerConstructor):
    """A constructor of a user's, derived from one of ours."""


def test_a_derived_constructor_takes_rules_of_its_own():
    def check(constructor):
        rules = dict(decay_rate=0.75, warm_head=2)
        check_config(Config(dict(optim_wrapper=dict(constructor=constructor, paramwise_cfg=rules))))

    check('DecayWithWarmHead')
    with pytest.raises(ConfigError, match='no rule is called "warm_head"'):
        check('LearningRateDecayOptimizerConstructor')


def test_zero_optimizer_accepts_inner_arguments():
    def cfg(**more):
        kinds = dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW')
        return Config(dict(optim_wrapper=dict(optimizer=dict(**kinds, lr=1e-3, **more))))

    check_config(cfg(betas=(0.9, 0.99)))
    with pytest.raises(ConfigError, match=r'optimizer\.momentum: .* takes no argument'):
        check_config(cfg(momentum=0.9))
