"""Training, validation and test loops: order, resuming, precision."""

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmaction.cli import test as test_tool
from mmaction.datasets import EpochSampler
from mmaction.engine.optimizers.amp import set_test_precision
from mmaction.engine.runner import ActionRunner, loops
from mmaction.engine.runner.loops import batches_from
from mmaction.errors import ConfigError
from mmaction.registry import HOOKS
from tests.engine.toy import build_runner, last_checkpoint, log_of, toy_config

DTYPES = {'off': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
WORDS = {'off': 'fp32', 'bf16': 'bf16', 'fp16': 'fp16'}


def observe(runner):
    """Test; the types of the matrix products of the backbone, and of the scores."""
    if isinstance(runner, ActionRunner):
        runner.prepare('test')  # which tries a clip in fp32
    forward, scores = set(), set()
    layers = [m for m in runner.model.backbone.modules() if isinstance(m, torch.nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: forward.add(output.dtype))
    runner.model.register_forward_hook(
        lambda module, inputs, output: scores.update(s.pred_score.dtype for s in output)
    )
    metrics = runner.test()
    return forward, scores, metrics


@pytest.mark.parametrize('precision', ['off', 'bf16', 'fp16'])
def test_test_computes_in_the_precision_that_it_names(tmp_path, precision):
    # What the config trains in has no part in it.
    wrapper = dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
    cfg = toy_config(tmp_path)
    cfg.optim_wrapper.update(wrapper)
    set_test_precision(cfg, precision)
    runner = build_runner(cfg)
    forward, scores, metrics = observe(runner)
    assert forward == {DTYPES[precision]}
    assert scores == {torch.float32}
    assert 0 <= metrics['acc/top1'] <= 1
    report = next(line for line in log_of(runner).splitlines() if 'device:' in line)
    assert report.endswith(f', {WORDS[precision]}')
    assert 'loss scaling' not in log_of(runner).split('before testing')[1]


def test_validation_of_a_mixed_precision_run_is_fp32(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.optim_wrapper.update(dict(type='AmpOptimWrapper', dtype='bfloat16'))
    runner = build_runner(cfg)
    found = set()
    layer = next(m for m in runner.model.backbone.modules() if isinstance(m, torch.nn.Linear))
    layer.register_forward_hook(lambda module, inputs, output: found.add(output.dtype))
    assert set(runner.val()) == {'acc/top1', 'acc/mean1'}
    assert not list(tmp_path.glob('*.pth'))  # nothing was trained
    assert found == {torch.float32}


def test_fp16_key_of_mmengine_and_its_own_runner(tmp_path):
    cfg = toy_config(tmp_path, **{'test_cfg.type': 'TestLoop', 'test_cfg.fp16': True})
    cfg.launcher = 'none'
    cfg.val_cfg.type = 'ValLoop'
    runner = Runner.from_cfg(cfg)
    assert observe(runner)[0] == {torch.float16}
    set_test_precision(cfg, 'off')
    cfg.experiment_name += '_off'
    assert observe(Runner.from_cfg(cfg))[0] == {torch.float32}


def test_unknown_precision_and_other_loops_are_errors(tmp_path):
    cfg = toy_config(tmp_path, **{'test_cfg.precision': 'fp8'})
    with pytest.raises(
        ValueError, match=r"test_cfg.precision='fp8' must be one of off, bf16, fp16"
    ):
        build_runner(cfg).test()
    cfg = toy_config(tmp_path, **{'test_cfg.type': 'MyLoop'})
    set_test_precision(cfg, 'off')
    with pytest.raises(ConfigError, match=r'test_cfg.type=MyLoop chooses its own precision'):
        set_test_precision(cfg, 'bf16')


@pytest.mark.parametrize(
    ('arguments', 'amp'),
    [
        (['c.py', 'x.pth'], 'off'),
        (['--amp', 'c.py', 'x.pth'], 'auto'),
        (['c.py', 'x.pth', '--amp'], 'auto'),
        (['c.py', 'x.pth', '--amp', 'fp16'], 'fp16'),
        (['c.py', 'x.pth', '--amp=bf16'], 'bf16'),
    ],
)
def test_amp_of_the_command_line(arguments, amp):
    args = test_tool.parse_args(arguments)
    assert (args.config, args.checkpoint, args.amp) == ('c.py', 'x.pth', amp)


def test_command_line_tests_in_bf16(tmp_path, monkeypatch, capsys):
    toy_config(tmp_path).dump(tmp_path / 'c.py')
    source = build_runner(toy_config(tmp_path / 'source'))
    torch.save(dict(state_dict=source.model.state_dict()), tmp_path / 'x.pth')
    monkeypatch.setattr(
        'sys.argv', ['test.py', str(tmp_path / 'c.py'), str(tmp_path / 'x.pth'), '--amp', 'bf16']
    )
    test_tool.main()
    printed = capsys.readouterr().out
    assert 'top1_acc: 0.' in printed or 'top1_acc: 1.' in printed
    assert any('device:' in line and line.endswith(', bf16') for line in printed.splitlines())


@pytest.mark.parametrize('kind', [EpochSampler, DefaultSampler])
def test_batches_of_a_resumed_epoch(kind):
    """A sampler that cannot skip is read again; what was used is dropped."""
    loader = DataLoader(range(7), batch_size=2, sampler=kind(range(7), shuffle=True, seed=3))
    whole = list(batches_from(loader, epoch=2, done=0))
    rest = list(batches_from(loader, epoch=2, done=2))
    assert [index for index, _ in whole] == [0, 1, 2, 3]
    assert [(index, batch.tolist()) for index, batch in rest] == [
        (index, batch.tolist()) for index, batch in whole[2:]
    ]
    assert list(batches_from(loader, epoch=2, done=4)) == []
    assert [b.tolist() for _, b in batches_from(loader, 1, 0)] != [b.tolist() for _, b in whole]


@pytest.mark.parametrize('rank', [0, 1])
def test_batches_of_a_resumed_epoch_of_two_ranks(rank):
    """The sampler counts the samples of both ranks."""
    sampler = EpochSampler(range(12), shuffle=True, seed=3)
    sampler.world_size, sampler.rank = 2, rank
    loader = DataLoader(range(12), batch_size=2, sampler=sampler)
    whole = [batch.tolist() for _, batch in batches_from(loader, epoch=1, done=0)]
    assert [batch.tolist() for _, batch in batches_from(loader, epoch=1, done=1)] == whole[1:]


@HOOKS.register_module(force=True)
class RecordCalls(Hook):
    """Keeps at which step what was called, and whether the model trained."""

    def __init__(self):
        self.calls = []

    def _note(self, name, runner):
        self.calls.append((name, runner.iter, runner.model.training))

    def after_train_epoch(self, runner):
        self._note('train epoch', runner)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == 0:
            self._note('val', runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter in (0, 4):  # before and after the first validation
            self._note('step', runner)


def by_iter(work_dir, steps, **changes):
    """A run by steps, with what it called."""
    cfg = toy_config(work_dir, **changes)
    cfg.train_cfg = dict(by_epoch=False, max_iters=steps, val_interval=4)
    cfg.param_scheduler = []
    cfg.custom_hooks = [dict(type='RecordCalls'), dict(type='StopHook')]
    return cfg


def calls_of(runner):
    return next(hook.calls for hook in runner.hooks if isinstance(hook, RecordCalls))


@pytest.mark.parametrize('val_begin', [0, 1])
def test_run_by_steps_validates_at_its_end_in_eval_mode(tmp_path, val_begin):
    cfg = by_iter(tmp_path, 5)
    cfg.train_cfg.val_begin = val_begin
    runner = build_runner(cfg)
    runner.train()
    assert calls_of(runner) == [
        ('step', 0, True),
        ('val', 4, False),
        ('step', 4, True),
        ('val', 5, False),
        ('train epoch', 5, False),
    ]


def test_run_by_epochs_validates_after_its_last_one(tmp_path):
    cfg = toy_config(tmp_path, **{'train_cfg.val_interval': 2, 'train_cfg.max_epochs': 3})
    cfg.custom_hooks = [dict(type='RecordCalls')]
    runner = build_runner(cfg)
    runner.train()
    assert [step for name, step, _ in calls_of(runner) if name == 'val'] == [14, 21]


def test_validation_is_not_repeated_on_resume(tmp_path):
    build_runner(by_iter(tmp_path, 4, **{'default_hooks.checkpoint.interval': 4})).train()
    assert last_checkpoint(tmp_path)['message_hub']['runtime_info']['last_validated_iter'] == 4
    runner = build_runner(by_iter(tmp_path, 6, resume=True))
    runner.train()
    assert [step for name, step, _ in calls_of(runner) if name == 'val'] == [6]


def test_infinite_sampler_goes_on_after_the_clips_that_were_used(tmp_path):
    read = []
    for name, stops in (('whole', ()), ('stopped', (3, None))):
        log = tmp_path / f'{name}.txt'
        for stop in stops or (None,):
            cfg = by_iter(tmp_path / name, 6, **{'train_dataloader.dataset.log': str(log)})
            cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True, seed=1)
            cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
            cfg.default_hooks.checkpoint.save_best = None
            cfg.resume = stop is None and bool(stops)
            if stop is not None:
                cfg.custom_hooks.append(dict(type='StopAfter', step=stop))
            build_runner(cfg).train()
        read.append(log.read_text().split())
    whole, stopped = read
    assert len(whole) == 1 + 6 * 2  # the trial before training, and 6 steps
    assert stopped.pop(1 + 3 * 2) == '0'  # the trial of the resumed run
    assert stopped == whole


def test_stopped_validation_keeps_no_results(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.custom_hooks = [dict(type='StopInValidation'), dict(type='StopHook')]
    runner = build_runner(cfg)
    runner.train()
    assert runner.iter == 7
    assert all(metric.results == [] for metric in runner.val_loop.evaluator.metrics)


@pytest.mark.parametrize('by_epoch', [True, False])
def test_every_loop_fetches_the_next_batch_while_one_is_used(tmp_path, monkeypatch, by_epoch):
    """As on a GPU: of 7 validation and test batches in pairs, one is asked for ahead."""
    order = []

    def ahead(batches, device):
        held = None
        for batch in batches:
            order.append('asked')
            if held is not None:
                yield held
            held = batch
        yield held

    class Used(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            order.append('used')

        before_val_iter = before_test_iter = before_train_iter

    monkeypatch.setattr(loops, 'device_batches', ahead)
    cfg = toy_config(tmp_path)
    cfg.train_cfg = (
        dict(by_epoch=True, max_epochs=1) if by_epoch else dict(by_epoch=False, max_iters=7)
    )
    runner = build_runner(cfg)
    runner.register_hook(Used())
    for run in (runner.train, runner.val, runner.test):
        order.clear()
        run()
        assert order[:4] == ['asked', 'asked', 'used', 'asked']
        assert order.count('used') == (11 if run == runner.train else 4)
