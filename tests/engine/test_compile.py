import pytest
import torch

from tests.engine.toy import Run, build_runner, last_checkpoint, losses, toy_config, without_chance


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
    [(1, False), (1, True), pytest.param(2, True, marks=pytest.mark.slow)],
)
def test_compiled_run_has_the_same_losses(tmp_path, processes, use_checkpoint):
    # The graphs that inductor gets, run as they are: quick.
    output = train_both(tmp_path, processes, dict(backend='aot_eager'), False, use_checkpoint)
    # The order of sums, 1e-7 a step, which AdamW's division by small second moments enlarges.
    compare(tmp_path / 'plain', tmp_path / 'compiled', 1e-5, 1e-3)
    assert 'torch.compile: the first step takes a minute or more' in output
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
    cfg = config(tmp_path, compile=dict(backend='aot_eager'))
    runner = build_runner(cfg)
    runner.train()
    assert runner.bare_model.backbone._compiled_call_impl is not None
    plain = config(tmp_path, resume=True)
    plain.train_cfg.max_epochs = 3
    runner = build_runner(plain)
    runner.train()
    assert runner.bare_model.backbone._compiled_call_impl is None
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
        assert (runner.bare_model.backbone._compiled_call_impl is not None) == bool(options)
        assert not inductor.freezing
    assert set(frozen) == {not torch.cuda.is_available()}
    assert metrics[0] == metrics[1]
