import copy

import pytest
import torch
from mmengine.hooks import Hook
from torch import distributed as dist
from torch import nn

from mmaction.engine.compile import (
    compile_backbone,
    compile_options,
    compiler_settings,
    repeated_blocks,
)
from mmaction.engine.runner.checkpoint import find_checkpoint
from mmaction.errors import ConfigError
from mmaction.registry import MODELS
from tests.engine.toy import (
    Run,
    build_runner,
    last_checkpoint,
    log_of,
    losses,
    toy_config,
    without_chance,
)
from tests.models.backbones.small_dualformer import SMALL


def config(work_dir, **changes):
    cfg = without_chance(toy_config(work_dir, **changes))
    cfg.train_cfg.max_epochs = 2
    # No batch is shorter than the others: it would be compiled as well.
    cfg.train_dataloader.dataset.size = 12
    cfg.val_dataloader.dataset.size = 4
    return cfg


def compare(plain, compiled, loss_tolerance, weight_tolerance):
    """Hold a compiled run's names, losses, weights and BatchNorm counts against a plain one's."""
    torch.testing.assert_close(losses(plain), losses(compiled), rtol=loss_tolerance, atol=0)
    first, second = (last_checkpoint(work_dir)['state_dict'] for work_dir in (plain, compiled))
    assert list(first) == list(second)  # no `_orig_mod.` in names
    for name, value in first.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, second[name], rtol=0, atol=weight_tolerance)
        else:
            assert torch.equal(value, second[name]), name


def train_both(folder, processes, options, bf16, use_checkpoint):
    """Train without and with `compile`; returns what the compiled run printed."""
    for name in ('plain', 'compiled'):
        cfg = config(folder / name, **{'model.backbone.use_checkpoint': use_checkpoint})
        if bf16:
            cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype='bfloat16')
        if name == 'compiled':
            cfg.compile = options
        run = Run(cfg, processes)
        codes = run.wait(timeout=500)
        assert codes == [0] * processes, run.output.read_text()
    return run.output.read_text()


@pytest.mark.dist
@pytest.mark.parametrize(
    ('processes', 'use_checkpoint'),
    [
        pytest.param(1, False, marks=pytest.mark.slow),
        (1, True),
        pytest.param(2, True, marks=pytest.mark.slow),
    ],
)
def test_compiled_run_has_the_same_losses(tmp_path, processes, use_checkpoint):
    # The graphs that inductor gets, run as they are: quick.
    output = train_both(tmp_path, processes, dict(backend='aot_eager'), False, use_checkpoint)
    # The order of sums, 1e-7 a step, which AdamW's division by small second moments enlarges.
    compare(tmp_path / 'plain', tmp_path / 'compiled', 1e-5, 1e-3)
    assert 'torch.compile: the first step can take minutes' in output
    assert 'torch.compile: the first step took ' in output
    # The toy schedule is made for four epochs, of which two run.
    warnings = [line for line in output.splitlines() if 'WARNING' in line]
    assert [line for line in warnings if 'param_scheduler' not in line] == []


@pytest.mark.slow
@pytest.mark.dist
@pytest.mark.parametrize(
    ('processes', 'bf16', 'use_checkpoint'), [(1, False, False), (1, True, True), (2, True, True)]
)
def test_inductor_on_the_cpu(tmp_path, processes, bf16, use_checkpoint):
    train_both(tmp_path, processes, True, bf16, use_checkpoint)
    # bf16: a compiled graph keeps values in fp32 that autocast rounds to 8 bits, so a loss may
    # move by a part of 2^-8, and AdamW turns the sign of a small gradient into a step of lr.
    compare(tmp_path / 'plain', tmp_path / 'compiled', *((2e-3, 5e-2) if bf16 else (1e-5, 1e-3)))


def test_compiled_checkpoint_resumes_uncompiled(tmp_path):
    cfg = config(tmp_path, compile=dict(backend='eager'))
    runner = build_runner(cfg)
    runner.train()
    assert runner.bare_model.backbone.blocks[0][0]._compiled_call_impl is not None
    plain = config(tmp_path, resume=True)
    plain.train_cfg.max_epochs = 3
    runner = build_runner(plain)
    runner.train()
    assert runner.bare_model.backbone.blocks[0][0]._compiled_call_impl is None
    assert runner.iter == 18


@pytest.fixture
def inductor():
    """Inductor's settings, which are as before afterwards."""
    from torch._inductor import config as settings

    with settings.patch(freezing=False):
        yield settings


def test_test_compile_option(tmp_path, inductor):
    frozen = []

    def backend(graph, inputs):
        frozen.append(inductor.freezing)
        return graph.forward

    torch._dynamo.register_backend(backend, name='freezing_of_tests')
    metrics = []
    for name, options in (('plain', None), ('compiled', dict(backend='freezing_of_tests'))):
        torch.manual_seed(2)
        cfg = config(tmp_path / name)
        cfg.compile = options
        runner = build_runner(cfg)
        metrics.append(runner.test())
        block = runner.bare_model.backbone.blocks[0][0]
        assert (block._compiled_call_impl is not None) == bool(options)
        assert not inductor.freezing
    assert set(frozen) == {not torch.cuda.is_available()}
    assert metrics[0] == metrics[1]


def failing(graph, inputs):
    """A backend that fails as one without a compiler does."""
    raise RuntimeError('no compiler on this machine')


def test_failing_backend_falls_back_to_eager_with_one_line(tmp_path):
    torch._dynamo.register_backend(failing, name='failing_of_tests')
    for name, options in (('plain', False), ('compiled', dict(backend='failing_of_tests'))):
        cfg = config(tmp_path / name, compile=options)
        cfg.train_cfg.max_epochs = 1
        runner = build_runner(cfg)
        runner.train()
    compare(tmp_path / 'plain', tmp_path / 'compiled', 0, 0)
    lines = [line for line in log_of(runner).splitlines() if 'compile failed' in line]
    assert len(lines) == 1
    assert 'without it (RuntimeError: no compiler on this machine); compile=False' in lines[0]


def test_error_of_the_model_itself_is_not_taken_for_the_compilers():
    class Broken(nn.Linear):
        def forward(self, x):
            return super().forward(x[:, :1])

    model = nn.Module()
    model.backbone = nn.Sequential(Broken(4, 4), Broken(4, 4))
    compile_backbone(model, dict(backend='eager'), print)
    with pytest.raises(RuntimeError, match='shapes cannot be multiplied'):
        model.backbone(torch.ones(2, 4))


@pytest.mark.parametrize(
    ('setting', 'device', 'expected'),
    [
        ('auto', 'cpu', None),
        ('auto', 'cuda', {}),
        (True, 'cpu', {}),
        (False, 'cuda', None),
        (None, 'cuda', None),
        (dict(mode='max-autotune'), 'cpu', dict(mode='max-autotune')),
    ],
)
def test_compile_is_on_by_default_on_a_gpu(setting, device, expected):
    assert compile_options(setting, device) == expected


def test_unknown_compile_setting_is_error():
    with pytest.raises(ConfigError, match=r"compile: expected 'auto', True, False .* 'yes'"):
        compile_options('yes', 'cpu')


def test_backbone_is_compiled_block_by_block():
    model = MODELS.build(dict(type='DualFormer', **SMALL))
    found = repeated_blocks(model)
    blocks = [block for stage in model.blocks for block in stage]
    assert all(any(block is one for one in found) for block in blocks)
    assert not any(
        inner is not outer and any(inner is m for m in outer.modules())
        for outer in found
        for inner in found
    )
    covered = {p for block in found for p in block.parameters()}
    rest = {name for name, p in model.named_parameters() if p not in covered}
    assert rest == {'norm.weight', 'norm.bias'}


def test_equal_blocks_share_a_graph():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    class Block(nn.Module):
        def __init__(self, rate):
            super().__init__()
            self.rate, self.layer = rate, nn.Linear(4, 4)

        def forward(self, x):
            return x + self.layer(x)

    model = nn.Module()
    model.backbone = nn.Sequential(*(Block(i / 10) for i in range(12)))
    eager = copy.deepcopy(model.backbone)
    with compiler_settings(for_inference=False):
        compile_backbone(model, dict(backend=backend), print)
        x = torch.randn(2, 4, requires_grad=True)
        assert torch.equal(model.backbone(x), eager(x))
    assert len(graphs) == 1


def test_average_of_a_compiled_model_is_a_plain_copy():
    model = nn.Module()
    model.backbone = MODELS.build(dict(type='DualFormer', **SMALL))
    compile_backbone(model, dict(backend='eager'), print)
    assert all(m._compiled_call_impl is None for m in copy.deepcopy(model).modules())


@pytest.mark.parametrize(('use_checkpoint', 'static_graph'), [(False, False), (True, True)])
def test_compiled_blocks_in_ddp_of_one_process_have_the_gradients_of_the_model(
    device, use_checkpoint, static_graph
):
    backbone = without_chance(toy_config('unused')).model.backbone
    model = MODELS.build({**backbone, 'use_checkpoint': use_checkpoint})
    alone, holder = copy.deepcopy(model), nn.Module()
    holder.backbone = model
    compilation = compile_backbone(holder, dict(backend='aot_eager'), print)
    backend = 'nccl' if device == 'cuda' else 'gloo'
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(
            model, gradient_as_bucket_view=True, static_graph=static_graph
        )
        with compiler_settings(for_inference=False):
            for _ in range(3):
                clips = torch.randn(2, 3, 4, 8, 8)
                for net in (wrapped, alone):
                    net.zero_grad()
                    net(clips).square().mean().backward()
    finally:
        dist.destroy_process_group()
    assert not compilation.failed
    for (name, ours), theirs in zip(model.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5, msg=name)
    for (name, ours), theirs in zip(model.named_buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)


class Shapes(Hook):
    """Notes the shape of each batch that the backbone gets."""

    def __init__(self):
        self.seen = {'train': set(), 'eval': set()}

    def before_run(self, runner):
        def note(module, inputs):
            self.seen['train' if module.training else 'eval'].add(tuple(inputs[0].shape))

        runner.bare_model.backbone.register_forward_pre_hook(note)


def test_compiled_run_has_one_shape_and_the_same_metrics(tmp_path):
    """14 training clips in batches of 4, 7 for validation in batches of 2."""
    metrics = {}
    for compiled in (False, True):
        cfg = without_chance(toy_config(tmp_path / str(compiled)))
        cfg.train_dataloader.batch_size = 4
        cfg.train_cfg.max_epochs = 1
        cfg.compile = dict(backend='eager') if compiled else False
        runner = build_runner(cfg)
        hook = Shapes()
        runner.register_hook(hook)
        runner.prepare('train')
        runner.train()
        assert len(runner.train_dataloader) == (3 if compiled else 4)
        assert {shape[0] for shape in hook.seen['train']} == ({4} if compiled else {4, 2})
        assert {shape[0] for shape in hook.seen['eval']} == ({2} if compiled else {2, 1})
        # Those of the same weights.
        runner.load_checkpoint(str(find_checkpoint(tmp_path / 'False')))
        metrics[compiled] = runner.val()
    assert metrics[False] == metrics[True]


def test_epoch_of_less_than_one_batch_keeps_it(tmp_path):
    cfg = config(tmp_path, compile=dict(backend='eager'))
    cfg.train_dataloader.update(batch_size=100)
    runner = build_runner(cfg)
    runner.prepare('train')
    assert len(runner.train_dataloader) == 1


def test_config_that_says_drop_last_keeps_it(tmp_path):
    cfg = config(tmp_path, compile=dict(backend='eager'))
    cfg.train_dataloader.update(batch_size=5, drop_last=False)
    runner = build_runner(cfg)
    runner.prepare('train')
    assert len(runner.train_dataloader) == 3
