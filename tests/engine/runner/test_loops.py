"""The precision that a test computes in, and what the log says of it."""

from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmaction.engine.optimizers.amp import set_test_precision
from mmaction.errors import ConfigError
from tests.engine.toy import build_runner, toy_config
from tools import test as test_tool

DTYPES = {'off': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
WORDS = {'off': 'fp32', 'bf16': 'bf16', 'fp16': 'fp16'}


def observe(runner):
    """Test; the types of the matrix products of the backbone, and of the scores."""
    forward, scores = set(), set()
    layers = [m for m in runner.model.backbone.modules() if isinstance(m, torch.nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda module, inputs, output: forward.add(output.dtype))
    runner.model.register_forward_hook(
        lambda module, inputs, output: scores.update(s.pred_score.dtype for s in output)
    )
    metrics = runner.test()
    return forward, scores, metrics


def log_of(runner):
    (path,) = Path(runner.log_dir).glob('*.log')
    return path.read_text(encoding='utf-8')


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
