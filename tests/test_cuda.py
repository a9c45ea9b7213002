"""What a GPU is there for, end to end on small models; most of it runs on the CPU as well.

`pytest -m cuda` collects these and every other test that takes the fixture `device`.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import distributed as dist
from torch import nn

from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.engine.optimizers.amp import AmpOptimWrapper
from mmaction.registry import MODELS
from mmaction.visualization import GradCAM
from tests.apis.conftest import tiny_config
from tests.engine.runner.test_resume import differences
from tests.engine.toy import Run, build_runner, last_checkpoint, short_config, toy_config
from tests.golden.fill import load_deterministic
from tests.models.backbones.plain_dualformer import PlainDualFormer
from tests.models.backbones.small_dualformer import SMALL
from tests.models.recognizers.test_recognizer3d import build, data
from tests.models.recognizers.test_recognizer3d_tl import student, teacher_model
from tools.analysis_tools.gpu_parts import quickstart

ROOT = Path(__file__).parents[1]
LEAST = 60


@pytest.mark.parametrize(
    ('dtype', 'most'), [(torch.float32, 1e-4), (torch.bfloat16, 0.05), (torch.float16, 0.02)]
)
def test_forward_and_gradients_match_reference_in_each_precision(device, dtype, most):
    """Against the plain path in fp64."""
    model = load_deterministic(MODELS.build(dict(type='DualFormer', **SMALL))).to(device)
    exact = copy.deepcopy(model).double()
    clips = torch.randn(2, 3, 7, 50, 45)
    wanted = PlainDualFormer(exact)(clips.double())
    with torch.autocast(device, dtype, enabled=dtype is not torch.float32):
        found = model(clips)
    weights = torch.randn(found.shape)
    assert (found - wanted).norm() < most * wanted.norm()
    (found.float() * weights).sum().backward()
    (wanted * weights).sum().backward()
    gradients = [torch.cat([p.grad.flatten() for p in m.parameters()]) for m in (model, exact)]
    assert (gradients[0] - gradients[1]).norm() < 2 * most * gradients[1].norm()


@pytest.mark.parametrize('bad', [float('inf'), float('nan')])
def test_overflow_under_amp_leaves_the_weights(device, bad):
    model = build()
    settings = dict(dtype='float16') if device == 'cuda' else dict(dtype='bfloat16')
    wrapper = AmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), 0.1), **settings)
    wrapper.initialize_count_status(model, 0, 10)
    batch = model.data_preprocessor(data(), True)
    changed = []
    for factor in (1.0, bad, 1.0):
        before = model.cls_head.fc_cls.weight.detach().clone()
        with wrapper.optim_context(model):
            loss = model(**batch, mode='loss')['loss_cls']
        wrapper.update_params(loss * factor)
        changed.append(not torch.equal(before, model.cls_head.fc_cls.weight))
        assert all(p.isfinite().all() for p in model.parameters())
    assert changed == [True, False, True]


def test_moving_average_stays_on_the_device(device):
    model = build()
    average = ExponentialMovingAverage(model, momentum=0.25)
    first = model.cls_head.fc_cls.weight.detach().clone()
    average.update_parameters(model)  # the first takes the weights as they are
    with torch.no_grad():
        model.cls_head.fc_cls.weight.add_(1)
    average.update_parameters(model)
    torch.testing.assert_close(average.module.cls_head.fc_cls.weight, first + 0.25)


def test_exported_program_matches_the_model(device):
    model = MODELS.build(dict(type='DualFormer', **SMALL)).eval()
    clips = torch.randn(1, 3, 8, 64, 64)
    with torch.no_grad():
        program = torch.export.export(model, (clips,)).module()
        torch.testing.assert_close(program(clips), model(clips), rtol=1e-4, atol=1e-5)


def test_token_labeling_step(device, tmp_path):
    model = student(teacher_model()).to(device)
    model.load_teacher()
    losses = model(**model.data_preprocessor(data(), True), mode='loss')
    losses['loss_cls'].backward()
    assert {'token_acc', 'loss_cls'} <= set(losses)
    assert {value.device.type for value in losses.values()} == {device}
    assert {p.device.type for p in model.teacher.parameters()} == {device}
    assert all(p.grad is not None for p in model.cls_head.parameters())


def test_video_is_recognized(device):
    model = init_recognizer(tiny_config(), device=device)
    with torch.device('cpu'):
        video = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
        sample = inference_recognizer(model, video)
    assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(
        inference_recognizer(model.cpu(), video).pred_score,
        sample.pred_score.cpu(),
        rtol=1e-3,
        atol=1e-4,
    )


def test_grad_cam_is_that_of_the_cpu(device):
    model = load_deterministic(build()).eval()
    batch = data()
    saliency, _ = GradCAM(model).saliency(batch)
    on_cpu = dict(batch, inputs=[clip.cpu() for clip in batch['inputs']])
    expected, _ = GradCAM(model.cpu()).saliency(on_cpu)
    torch.testing.assert_close(saliency.cpu(), expected, rtol=1e-3, atol=1e-3)


def test_runs_set_up_cublas_for_deterministic_products(tmp_path, monkeypatch):
    """Without it the first product on a GPU is an error."""
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    runner = build_runner(short_config(tmp_path))
    assert 'CUBLAS_WORKSPACE_CONFIG' not in os.environ
    try:
        runner.set_randomness(1, deterministic=True)
        assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False


@pytest.mark.cuda
def test_resumed_run_is_bit_equal_with_deterministic(tmp_path):
    last = []
    for name, stops in (('whole', False), ('parts', True)):
        cfg = toy_config(tmp_path / name, randomness=dict(seed=5, deterministic=True))
        if stops:
            cfg.custom_hooks.append(dict(type='StopAfter', step=10))
            Run(cfg).wait()
            cfg.custom_hooks.pop()
            cfg.resume = True
        Run(cfg).check()
        last.append(last_checkpoint(cfg.work_dir))
    assert differences(*last) == []


def step(model, optimizer, batch):
    loss = model(**batch, mode='loss')['loss_cls']
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


@pytest.mark.cuda
def test_training_step_does_not_wait_for_the_gpu():
    model = build().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)
    batch = model.data_preprocessor(data(), True)
    step(model, optimizer, batch)  # the first allocates and chooses kernels
    torch.cuda.set_sync_debug_mode('error')
    try:
        step(model, optimizer, batch)
    finally:
        torch.cuda.set_sync_debug_mode('default')


@pytest.mark.cuda
@pytest.mark.parametrize('precision', ['fp32', 'bf16', 'fp16'])
def test_steps_of_a_run_do_not_wait_for_the_gpu(tmp_path, precision):
    """Mixup, clipping, EMA, BatchNorm, prefetching: all that a run does between two readings."""
    cfg = toy_config(tmp_path, compile=False)
    cfg.train_cfg.max_epochs, cfg.default_hooks.checkpoint.interval = 1, 100
    if precision != 'fp32':
        dtype = dict(bf16='bfloat16', fp16='float16')[precision]
        cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype=dtype)
    runner = build_runner(cfg)
    runner.reading_interval = 100
    runner.prepare('train')
    run_iter, done = runner._train_loop.run_iter, []

    def watched(*args):
        # The first steps allocate and choose kernels, the last one is a reading point.
        torch.cuda.set_sync_debug_mode('error' if 2 <= len(done) < 6 else 'default')
        try:
            run_iter(*args)
        finally:
            torch.cuda.set_sync_debug_mode('default')
        done.append(runner.iter)

    runner._train_loop.run_iter = watched
    runner.train()
    assert len(done) == 7
    assert runner.optim_wrapper.optimizer.param_groups[0]['fused']


@pytest.mark.cuda
def test_compiled_training_step_matches_eager():
    model = MODELS.build(dict(type='DualFormer', **SMALL)).cuda()
    eager = copy.deepcopy(model)
    clips = torch.randn(2, 3, 8, 64, 64, device='cuda')
    for net in (torch.compile(model), eager):
        net(clips).square().mean().backward()
    for (name, ours), theirs in zip(model.named_parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-4, msg=name)


@pytest.fixture
def nccl():
    """A group of this process alone."""
    dist.init_process_group('nccl', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.cuda
@pytest.mark.parametrize('static_graph', [False, True])
def test_data_parallel_over_nccl_has_the_gradients_of_the_model(nccl, static_graph):
    model = MODELS.build(dict(type='DualFormer', **SMALL)).cuda()
    alone = copy.deepcopy(model)
    wrapped = nn.parallel.DistributedDataParallel(
        model, device_ids=[0], gradient_as_bucket_view=True, static_graph=static_graph
    )
    clips = torch.randn(2, 3, 8, 64, 64, device='cuda')
    for net in (wrapped, alone):
        net(clips).square().mean().backward()
    for (name, ours), theirs in zip(model.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.cuda
def test_sync_batch_norm_over_nccl_is_batch_norm(nccl):
    model = MODELS.build(dict(type='DualFormer', **SMALL)).cuda()
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(model))
    assert any(isinstance(module, nn.SyncBatchNorm) for module in synced.modules())
    clips = torch.randn(2, 3, 8, 64, 64, device='cuda')
    torch.testing.assert_close(synced(clips), model(clips), rtol=1e-3, atol=1e-4)
    for (name, ours), theirs in zip(synced.named_buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.cuda
def test_pinned_clips_are_copied_while_the_gpu_computes():
    clips = [torch.randint(0, 256, (8, 3, 32, 64, 64), dtype=torch.uint8) for _ in range(3)]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        copies = [clip.pin_memory().to('cuda', non_blocking=True) for clip in clips]
    torch.cuda.current_stream().wait_stream(stream)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(copies, clips, strict=True))


@pytest.mark.cuda
@pytest.mark.slow
@pytest.mark.parametrize(
    ('use_checkpoint', 'per_clip'), [(False, 0.80e9), ('selective', 0.58e9), (True, 0.45e9)]
)
def test_memory_of_a_clip_is_that_of_the_table(use_checkpoint, per_clip):
    """Tiny in bf16, as in docs/performance.md, within a fifth."""
    model = MODELS.build(dict(type='DualFormer', use_checkpoint=use_checkpoint)).cuda()
    peaks = []
    for batch in (2, 2, 6):  # the first allocates workspaces
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast('cuda', torch.bfloat16):
            loss = model(torch.zeros(batch, 3, 32, 224, 224, device='cuda')).square().mean()
        loss.backward()
        model.zero_grad(set_to_none=True)
        del loss
        peaks.append(torch.cuda.max_memory_allocated())
    assert (peaks[2] - peaks[1]) / 4 < 1.2 * per_clip


@pytest.mark.cuda
@pytest.mark.slow
def test_quickstart_reaches_95_percent_in_three_minutes():
    (row,) = quickstart(small=False)
    assert row['top1_acc'] >= 0.95
    assert row['seconds'] < 180


class Collected:
    """Names of the functions of the tests that pytest collects."""

    def __init__(self):
        self.names = set()

    def pytest_collection_modifyitems(self, items):
        self.names = {item.nodeid.partition('[')[0] for item in items}


COUNT = """
import sys, pytest
from tests.test_cuda import Collected
found = Collected()
pytest.main(['-q', '--collect-only', '-m', 'cuda', '-p', 'no:cacheprovider', *sys.argv[1:]],
            plugins=[found])
print(len(found.names))
"""


def test_there_are_enough_checks_for_a_gpu(request):
    """Distinct functions, each with any number of parameters."""
    places = ('tests/models', 'tests/test_cuda.py')
    here = {
        item.nodeid.partition('[')[0]
        for item in request.session.items
        if item.nodeid.startswith(places) and item.get_closest_marker('cuda')
    }
    if len(here) >= LEAST:
        return
    # This run has some of the files alone.
    done = subprocess.run(
        [sys.executable, '-c', COUNT, *places], cwd=ROOT, capture_output=True, text=True
    )
    assert int(done.stdout.split()[-1]) >= LEAST, done.stdout[-2000:]
