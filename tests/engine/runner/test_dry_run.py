"""Dry steps before training: what they measure, and that they change nothing."""

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch import nn

from mmaction.config.load import load_config
from mmaction.distributed.sync_batch_norm import CpuSyncBatchNorm
from mmaction.engine.runner.dry_run import PeakMemory, dry_run, step_seconds
from mmaction.errors import ConfigError
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample


@pytest.fixture(scope='module')
def pico():
    init_default_scope('mmaction')
    torch.manual_seed(0)
    cfg = load_config('dualformer_pico_motion_digits')
    return MODELS.build(cfg.model)


@pytest.fixture
def clip():
    inputs = torch.randint(0, 256, (1, 3, 8, 40, 40), dtype=torch.uint8)
    return dict(inputs=inputs, data_samples=ActionDataSample().set_gt_label(1))


def test_peak_memory_counts_what_lives_at_one_time():
    with PeakMemory() as memory:
        a = torch.zeros(1000)  # 4000 bytes
        view = a[:10]
        b = a + 1
        view.add_(1)
        del b
        c = torch.ones(500)
        del a, view, c
    assert memory.peak == 8000
    assert memory.now == 0


def test_peak_memory_of_a_step_grows_with_what_is_kept_for_backward():
    layers = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(10)])

    def peak(rows):
        with PeakMemory() as memory:
            layers(torch.randn(rows, 64)).sum().backward()
        return memory.peak

    # ReLU keeps its output, Linear that same tensor: a layer keeps two at most
    growth = (peak(2000) - peak(1000)) / (1000 * 64 * 4)
    assert 10 <= growth <= 25


def test_dry_run_changes_nothing(pico, clip):
    norm = nn.BatchNorm1d(64)
    pico.backbone.extra = norm
    weights = {name: value.clone() for name, value in pico.state_dict().items()}
    held = torch.ones_like(next(pico.parameters()))
    next(pico.parameters()).grad = held
    pico.eval()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    found = dry_run(pico, clip, 4, collate=pseudo_collate)
    assert torch.equal(torch.rand(3), expected)
    assert not pico.training
    assert next(pico.parameters()).grad is held
    assert (held == 1).all()
    assert all(p.grad is None for p in list(pico.parameters())[1:])
    assert all(torch.equal(value, weights[name]) for name, value in pico.state_dict().items())
    assert found.batch == 4
    assert found.seconds > 0
    del pico.backbone.extra


def test_statistics_of_batch_norm_are_left_as_they_were(clip):
    init_default_scope('mmaction')
    cfg = load_config('resnet18_motion_digits')
    model = MODELS.build(cfg.model)
    before = {name: value.clone() for name, value in model.named_buffers()}
    dry_run(model, clip, 2, collate=pseudo_collate, optimizer='SGD')
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


def test_memory_is_linear_in_the_batch(pico, clip):
    # Every stage has whole pictures of tokens, to which linear layers fill up (`linear_cpu`).
    clip['inputs'] = torch.randint(0, 256, (1, 3, 8, 64, 64), dtype=torch.uint8)
    small, large = (dry_run(pico, clip, size, collate=pseudo_collate) for size in (2, 6))
    assert small.per_clip == pytest.approx(large.per_clip, rel=0.05)
    # 8 x 64 x 64 clips of pico keep some megabytes each
    assert 1e6 < small.per_clip < 3e7
    assert large.largest * large.per_clip < large.free


@pytest.mark.parametrize('fits', [1, 2])
def test_batch_that_is_the_largest_fits(pico, clip, fits):
    def collate(clips):
        if len(clips) > fits:
            raise torch.OutOfMemoryError
        return pseudo_collate(clips)

    found = dry_run(pico, clip, fits, collate=collate)
    assert (found.batch, found.largest) == (fits, fits)
    assert all(parameter.grad is None for parameter in list(pico.parameters())[1:])
    with pytest.raises(ConfigError, match='a batch of 3 clips does not fit'):
        dry_run(pico, clip, 3, collate=collate)


@pytest.mark.parametrize('kind', [nn.SyncBatchNorm, CpuSyncBatchNorm])
def test_no_rank_steps_alone_where_all_have_to(clip, kind):
    # One that did would send its statistics into what the others say next.
    assert dry_run(nn.Sequential(kind(3)), clip, 2, collate=pseudo_collate) is None


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        # compute, read, batch, workers, threads, on_gpu
        ((1.0, 0.1, 4, 0, 2, False), 1.4),
        ((1.0, 0.1, 4, 2, 2, True), 1.0),
        ((0.1, 0.1, 8, 2, 2, True), 0.4),
        ((1.0, 0.1, 10, 1, 1, False), 1.0),
        ((1.0, 0.1, 10, 1, 2, False), 1.5),
    ],
)
def test_step_time_is_that_of_the_bottleneck(monkeypatch, arguments, expected):
    monkeypatch.setattr('mmaction.engine.runner.dry_run.available_cores', lambda: 2)
    *given, on_gpu = arguments
    assert step_seconds(*given, on_gpu=on_gpu) == pytest.approx(expected)
