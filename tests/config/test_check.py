import pytest
import torch
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


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(max_norm='x'), "max_norm: expected a number, found 'x'"),
        (dict(max_norm=1, norm_type='l2'), "norm_type: expected a number, found 'l2'"),
        (dict(max_norm=1, foreach=3), 'foreach: expected True or False or None, found 3'),
        (dict(norm_type=2), ': clipping by norm needs max_norm'),
        (dict(clip_value=1), 'clip_value: clipping by norm takes no "clip_value"'),
        (dict(type='value', max_norm=1), 'max_norm: clipping by value takes no "max_norm"'),
        (dict(type='agc'), "type: expected norm or value, found 'agc'"),
        (dict(type=[]), r'type: expected norm or value, found \[\]'),
    ],
)
@pytest.mark.parametrize('kind', [{}, dict(type='AmpOptimWrapper')])
def test_options_of_clipping_that_pytorch_does_not_take(options, message, kind):
    with pytest.raises(ConfigError, match=rf'^config key optim_wrapper\.clip_grad\.?{message}'):
        check_config(Config(dict(optim_wrapper=dict(**kind, clip_grad=options))))


@pytest.mark.parametrize(
    'options',
    [
        None,
        {},
        dict(max_norm=40, norm_type=2),
        dict(max_norm=1.0, norm_type='inf', error_if_nonfinite=False),
        dict(type='value', clip_value=0.1, foreach=None),
    ],
)
def test_options_of_clipping(options):
    check_config(Config(dict(optim_wrapper=dict(clip_grad=options))))


def test_optimizer_may_be_given_as_a_class():
    rules = dict(custom_keys=dict(norm=dict(weight_decay=0.0)))
    optimizer = dict(type=torch.optim.AdamW, lr=1e-3)
    check_config(Config(dict(optim_wrapper=dict(optimizer=optimizer, paramwise_cfg=rules))))


@pytest.mark.parametrize(
    ('place', 'value', 'expected'),
    [
        ('model', 3, 'a dict'),
        ('model.backbone', 'x', 'a dict'),
        ('custom_hooks.0.type', [], 'the name of a class'),
        ('default_hooks.timer', 3, 'a dict with "type" or None'),
        ('default_hooks.timer', [], 'a dict with "type" or None'),
        ('optim_wrapper.optimizer', 3, 'a dict'),
        ('optim_wrapper.optimizer.type', [], 'the name of a class'),
        ('optim_wrapper.constructor', [], 'the name of a class'),
        ('optim_wrapper.paramwise_cfg', 3, 'a dict or None'),
        ('optim_wrapper.paramwise_cfg.custom_keys', 3, 'a dict or None'),
        ('optim_wrapper.paramwise_cfg.custom_keys.norm', 3, 'a dict such as'),
        ('param_scheduler.0.convert_to_iter_based', 'maybe', 'True or False'),
        ('model.backbone.frozen', 'no', 'True or False'),
        ('model.backbone.lora', 8, 'a dict or None'),
    ],
)
def test_a_value_that_others_are_read_from_has_another_type(place, value, expected):
    with pytest.raises(ConfigError, match=rf'config key {place}: expected {expected}.*, found'):
        load_config('dualformer_pico_motion_digits', {place: value})
