import pytest
from mmengine.config import Config

from mmaction.config.check import check_config
from mmaction.config.load import load_config
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


@pytest.mark.parametrize('options', [(), ('optim_wrapper.optimizer.type=SGD',)])
def test_argument_left_over_from_a_base_says_how_to_leave_it_out(tmp_path, options):
    (tmp_path / 'base.py').write_text(
        "optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.99)))\n"
    )
    own, file = dict(type='SGD', lr=0.1), tmp_path / 'own.py'

    def write(**optimizer):
        file.write_text(f"_base_ = 'base.py'\noptim_wrapper = dict(optimizer={optimizer})\n")

    write(**({} if options else own))
    with pytest.raises(ConfigError, match=r'"betas"; .*_delete_=True in optim_wrap') as told:
        load_config(file, options)
    assert '"betas" is not in own.py but in a base of it' in str(told.value)
    write(**own, _delete_=True)
    assert load_config(file).optim_wrapper.optimizer == own
    write(**own, _delete_=True, beta=1)
    with pytest.raises(ConfigError) as told:
        load_config(file)
    assert 'a base of it' not in str(told.value)
