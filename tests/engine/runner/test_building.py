import sys

import pytest
import torch
from mmengine.config import Config

from mmaction.engine.hooks import UnreadableClipsHook
from mmaction.engine.runner import building
from mmaction.errors import ConfigError, FileWriteError
from tests.engine.toy import build_runner, short_config, toy_config


@pytest.fixture
def ddp_options(monkeypatch, tmp_path):
    """What DDP is given for a config, as in the first of two ranks."""
    monkeypatch.setattr(building, 'MMDistributedDataParallel', lambda **options: options)
    monkeypatch.setattr(building, 'synchronize_batch_norm', lambda model, kind, device: model)

    def options(wrapper=None, **changes):
        runner = build_runner(toy_config(tmp_path, **changes))
        runner._world_size = 2
        return runner.wrap_model(wrapper, runner.model)

    return options


@pytest.mark.parametrize(
    ('changes', 'static'),
    [
        ({'optim_wrapper.accumulative_counts': 1}, True),
        ({'optim_wrapper.accumulative_counts': 2}, False),
        ({'optim_wrapper.accumulative_counts': 1, 'find_unused_parameters': True}, False),
        ({'optim_wrapper.accumulative_counts': 1, 'compile': True}, False),
    ],
)
def test_static_graph_where_it_holds(ddp_options, changes, static):
    options = ddp_options(**changes)
    assert options['static_graph'] is static
    assert options['gradient_as_bucket_view'] is True


def test_wrapper_config_comes_first(ddp_options):
    given = dict(type='MMDistributedDataParallel', static_graph=True, gradient_as_bucket_view=False)
    options = ddp_options(given)
    assert options['static_graph'] is True
    assert options['gradient_as_bucket_view'] is False


@pytest.mark.parametrize(('device', 'pinned'), [('cpu', False), ('cuda', True)])
def test_loaders_pin_memory_on_a_gpu(monkeypatch, tmp_path, device, pinned):
    cfg = toy_config(tmp_path)
    runner = build_runner(cfg)
    monkeypatch.setattr(building, 'get_device', lambda: device)
    assert runner.build_dataloader(cfg.train_dataloader).pin_memory is pinned
    chosen = dict(cfg.train_dataloader, pin_memory=False)
    assert runner.build_dataloader(chosen).pin_memory is False


def test_loaders_draw_no_number_of_the_run(tmp_path):
    """A resumed run starts its loader anew, and goes on with the numbers of an unbroken one."""
    cfg = toy_config(tmp_path)
    loader = build_runner(cfg).build_dataloader(cfg.train_dataloader, seed=5)
    before = torch.get_rng_state()
    list(loader)
    assert torch.equal(torch.get_rng_state(), before)


def test_adam_is_fused_on_a_gpu_and_resumes_on_a_cpu(monkeypatch, tmp_path):
    cfg = toy_config(tmp_path)
    runner = build_runner(cfg)
    on_cpu = runner.build_optim_wrapper(cfg.optim_wrapper).optimizer
    assert not on_cpu.param_groups[0]['fused']
    monkeypatch.setattr(building, 'get_device', lambda: 'cuda')
    on_gpu = runner.build_optim_wrapper(cfg.optim_wrapper).optimizer
    assert on_gpu.param_groups[0]['fused'] is True
    assert isinstance(on_gpu, torch.optim.AdamW)


def test_full_disk_names_the_work_dir(tmp_path):
    resource = pytest.importorskip('resource')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(FileWriteError, match=r'cannot write into .*run: File too large'):
            build_runner(toy_config(tmp_path / 'run'))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_log_without_its_package_is_told_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr('mmaction.config.from_args.find_spec', lambda _: None)
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    cfg = toy_config(tmp_path)
    cfg.visualizer = dict(type='Visualizer', vis_backends=[dict(type='TensorboardVisBackend')])
    with pytest.raises(ConfigError, match='pip install tensorboard, or leave this log out'):
        build_runner(cfg)


def test_text_of_a_run_config_gives_the_config_again(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'yapf', None)
    runner = build_runner(short_config(tmp_path))
    (dumped,) = tmp_path.glob('*.py')
    read = Config.fromfile(dumped)
    assert read.to_dict() == runner.cfg.to_dict()
    assert runner.cfg.pretty_text == dumped.read_text()


def test_classes_in_a_config_have_a_text(tmp_path):
    cfg = short_config(tmp_path)
    cfg.optim_wrapper.optimizer.type = torch.optim.SGD
    assert 'torch.optim.sgd.SGD' in build_runner(cfg).cfg.pretty_text


@pytest.mark.parametrize('hooks', [[], [dict(type='UnreadableClipsHook', interval=7)]])
def test_any_run_names_clips_that_cannot_be_read(tmp_path, hooks):
    """Configs of mmaction2 do not have the hook."""
    runner = build_runner(toy_config(tmp_path, custom_hooks=hooks))
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, UnreadableClipsHook))
    assert hook.interval == (7 if hooks else 50)
