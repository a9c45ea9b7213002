"""Runs with a teacher: saved without it, resumed exactly, tested where it is not."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config

from mmaction.engine.compile import repeated_blocks
from mmaction.registry import MODELS
from tests.engine.toy import Run, build_runner, last_checkpoint, toy_config, without_chance
from tests.tools.running import run_tool


def config(folder, work_dir, **changes):
    """The toy run with token labels of a toy teacher, whose files lie in `folder`."""
    cfg = toy_config(work_dir, **{'train_cfg.max_epochs': 2})
    teacher = cfg.model.to_dict()
    teacher['data_preprocessor'].pop('blending')
    if not (folder / 'teacher.pth').exists():
        model = MODELS.build(teacher)
        model.init_weights()
        torch.nn.init.normal_(model.cls_head.fc_cls.weight)
        torch.save(dict(state_dict=model.state_dict()), folder / 'teacher.pth')
        Config(dict(model=teacher)).dump(folder / 'teacher.py')
    cfg.model.type = 'Recognizer3D_TL'
    cfg.model.cls_head.type = 'I3DHead_TL'
    cfg.model.data_preprocessor.blending = None
    cfg.model.teacher = dict(
        config=str(folder / 'teacher.py'), checkpoint=str(folder / 'teacher.pth')
    )
    cfg.merge_from_dict(changes)
    return cfg


# Of two processes: test_resume.py, whose runs differ by the teacher alone.
@pytest.mark.dist
@pytest.mark.parametrize('processes', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_resumed_token_label_run_equals_uninterrupted(tmp_path, processes):
    whole = config(tmp_path, tmp_path / 'whole')
    Run(whole, processes).check()
    unbroken = last_checkpoint(whole.work_dir)
    for part in ('state_dict', 'ema_state_dict'):
        assert not [name for name in unbroken[part] if 'teacher' in name]
    assert 'cls_head.token_linear.6.weight' in unbroken['state_dict']
    moments = unbroken['optimizer']['state']
    parameters = [n for n in unbroken['state_dict'] if n.endswith(('weight', 'bias'))]
    assert len(moments) == len(parameters)

    broken = config(tmp_path, tmp_path / 'broken')
    broken.custom_hooks.append(dict(type='StopAfter', step=5))
    Run(broken, processes).wait()
    broken.custom_hooks.pop()
    broken.resume = True
    Run(broken, processes).check()
    resumed = last_checkpoint(broken.work_dir)
    assert resumed['meta']['iter'] == unbroken['meta']['iter']
    for part in ('state_dict', 'ema_state_dict'):
        for name, value in unbroken[part].items():
            assert torch.equal(resumed[part][name], value), name


@pytest.mark.parametrize(
    'backend',
    [
        'eager',  # what inductor would compile is run as it is: quick
        pytest.param(
            'inductor',
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(shutil.which('g++') is None, reason='no compiler'),
            ],
        ),
    ],
)
def test_teacher_is_compiled_with_the_student(tmp_path, backend):
    states = []
    for name, options in (('plain', None), ('compiled', dict(backend=backend))):
        cfg = without_chance(config(tmp_path, tmp_path / name, compile=options))
        cfg.train_cfg.max_epochs = 1
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.save_best = None
        runner = build_runner(cfg)
        runner.train()
        for backbone in (runner.bare_model.backbone, runner.bare_model.teacher.backbone):
            blocks = repeated_blocks(backbone)
            assert blocks
            for block in blocks:
                assert (block._compiled_call_impl is not None) == (options is not None)
        states.append(runner.bare_model.state_dict())
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-3, atol=1e-4)


def test_train_and_test_of_token_labels(tmp_path):
    cfg = config(
        tmp_path,
        tmp_path / 'run',
        custom_imports=dict(imports=['tests.engine.toy'], allow_failed_imports=False),
    )
    cfg.train_cfg.max_epochs = 1
    cfg.dump(tmp_path / 'student.py')
    run_tool('train.py', tmp_path / 'student.py')
    checkpoint = sorted((tmp_path / 'run').glob('iter_*.pth'))[-1]

    # Testing wants no teacher, training does, and says which file and what to do.
    (tmp_path / 'teacher.pth').unlink()
    run_tool('test.py', tmp_path / 'student.py', checkpoint)
    assert json.loads((tmp_path / 'run' / 'metrics.json').read_text())['top1_acc'] >= 0
    output = run_tool('train.py', tmp_path / 'student.py', status=1).stderr
    assert output.count('error:') == 1
    assert 'teacher.pth is not there' in output
    assert 'model.teacher.checkpoint=FILE' in output
