"""What a training step makes the host read, between two points at which the log is written."""

import pytest
import torch

from mmaction.engine.optimizers import conditional_step
from tests.engine.host_reads import host_reads
from tests.engine.toy import build_runner, toy_config

BLENDINGS = {
    'none': None,
    'mixup': dict(type='MixupBlending', num_classes=4, alpha=0.4),
    'cutmix': dict(type='CutmixBlending', num_classes=4, alpha=0.4),
}


def reads_of_steps(cfg):
    """Where each step of a run reads, none of which is a reading point but the last."""
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1)
    cfg.default_hooks.checkpoint.interval = 100
    runner = build_runner(cfg)
    runner.reading_interval = 100
    runner.prepare('train')
    loop, steps = runner._train_loop, []
    run_iter = loop.run_iter

    def noting(*args):
        with host_reads() as places:
            run_iter(*args)
        steps.append(places)

    loop.run_iter = noting
    runner.train()
    return steps


@pytest.mark.parametrize('blending', BLENDINGS)
@pytest.mark.parametrize('precision', ['fp32', 'bf16', 'fp16'])
def test_step_between_reading_points_reads_nothing(tmp_path, monkeypatch, precision, blending):
    # fp16 becomes fp32 on a CPU, except here.
    monkeypatch.setattr(
        'mmaction.engine.runner.building.without_fp16_on_cpu', lambda wrapper: (wrapper, False)
    )
    cfg = toy_config(tmp_path, **{'model.data_preprocessor.blending': BLENDINGS[blending]})
    cfg.optim_wrapper.optimizer.fused = True  # as on a GPU
    if precision != 'fp32':
        dtype = dict(bf16='bfloat16', fp16='float16')[precision]
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=dtype)
    steps = reads_of_steps(cfg)
    assert len(steps) == 7
    assert steps[:-1] == [[]] * 6
    assert steps[-1]  # the end of the epoch is a reading point


def test_optimizer_without_flag_reads_only_where_its_state_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(conditional_step, '_is_read_late', lambda flag: True)
    cfg = toy_config(tmp_path)
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.1, momentum=0.9)
    counts = [len(places) for places in reads_of_steps(cfg)]
    assert counts[:-1] == [0, 1, 0, 0, 0, 0]  # an update every second step


def test_reads_are_seen():
    value, mask = torch.ones(3), torch.tensor([True, False, True])
    readers = [
        lambda: value[0].item(),
        lambda: bool(value.isfinite().all()),
        lambda: float(value.sum()),
        lambda: value.nonzero(),
        lambda: value[mask],
        lambda: value.tolist(),
        lambda: value.cpu(),
        lambda: torch.equal(value, value),
    ]
    for i, read in enumerate(readers):
        with host_reads() as places:
            read()
        assert len(places) == 1, i
    with host_reads() as places:
        (value + 1).sum().backward if value.requires_grad else value.mean()
    assert places == []
