import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmaction.engine.hooks.non_finite import NonFiniteLossHook
from mmaction.engine.optimizers import AmpOptimWrapper, OptimWrapper
from mmaction.errors import TrainingError
from mmaction.registry import DATASETS
from mmaction.structures import ActionDataSample
from tests.engine.runner.test_resume import differences
from tests.engine.toy import Run, ToyClips, build_runner, last_checkpoint, toy_config


def test_persistent_nan_loss_stops_run_and_saves_batch(tmp_path):
    cfg = toy_config(tmp_path, **{'model.data_preprocessor.blending': None})
    cfg.optim_wrapper.update(accumulative_counts=1)
    cfg.train_dataloader.update(batch_size=14)
    cfg.train_dataloader.dataset.bad = 3
    runner = build_runner(cfg)
    with pytest.raises(
        TrainingError, match=r'3 updates in a row.*step 3, learning rate.*clip_3'
    ) as e:
        runner.train()
    saved = torch.load(tmp_path / 'nonfinite_step_3_process_0.pth', weights_only=False)
    assert 'clip_3.mp4' in saved['files']
    assert saved['step'] == 3
    assert math.isnan(saved['losses']['loss'])
    assert str(tmp_path / 'nonfinite_step_3_process_0.pth') in str(e.value)
    assert all(bool(torch.isfinite(v).all()) for v in runner.bare_model.state_dict().values())


def test_nonfinite_batch_within_accumulation_window_is_named(tmp_path):
    cfg = toy_config(tmp_path, **{'model.data_preprocessor.blending': None})
    cfg.train_dataloader.dataset.size = 4
    cfg.train_dataloader.sampler.shuffle = False
    cfg.train_dataloader.batch_size = 1
    cfg.optim_wrapper.accumulative_counts = 4
    cfg.train_dataloader.dataset.bad = 1  # the second of four steps
    runner = build_runner(cfg)
    with pytest.raises(TrainingError, match=r'step 12, .* on clip_1\.mp4; this batch is in .*_10_'):
        runner.train()
    saved = torch.load(tmp_path / 'nonfinite_step_10_process_0.pth', weights_only=False)
    assert saved['files'] == ['clip_1.mp4']
    assert all(bool(torch.isfinite(v).all()) for v in runner.bare_model.state_dict().values())


@pytest.mark.dist
def test_nonfinite_loss_on_one_rank_skips_all_ranks(tmp_path):
    cfg = toy_config(tmp_path, **{'model.data_preprocessor.blending': None})
    cfg.optim_wrapper.update(accumulative_counts=1)
    cfg.train_dataloader.dataset.bad = 3
    Run(cfg, 2).check()
    checkpoint = last_checkpoint(tmp_path)
    assert checkpoint['optimizer']['skip_counts'] == (4, 0, True)  # once per epoch
    assert all(bool(torch.isfinite(v).all()) for v in checkpoint['state_dict'].values())
    assert 'update skipped (1 in a row)' in (tmp_path / 'output.txt').read_text()


class Steps:
    """Updates of one weight under the hook; `take(factor)` takes a step on factor * weight."""

    def __init__(self, work_dir, wrapper=OptimWrapper, skipped=0, hook=None, **kwargs):
        self.model = torch.nn.Linear(1, 1, bias=False)
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.wrapper = wrapper(optimizer=optimizer, **kwargs)
        self.wrapper.initialize_count_status(self.model, 0, 100)
        self.wrapper.skipped = skipped
        self.said = []
        logger = SimpleNamespace(warning=self.said.append, info=self.said.append)
        self.runner = SimpleNamespace(
            work_dir=str(work_dir), model=self.model, optim_wrapper=self.wrapper, logger=logger,
            iter=0, rank=0, world_size=1,
        )  # fmt: skip
        self.hook = NonFiniteLossHook(**hook or {})
        self.hook.before_train(self.runner)

    def take(self, factor=1.0, loss=None):
        number = self.runner.iter
        sample = ActionDataSample(metainfo=dict(filename=f'{number}.mp4'))
        batch = dict(inputs=[torch.zeros(1)], data_samples=[sample])
        loss = self.model.weight.sum() * factor if loss is None else loss(self.model.weight)
        self.hook.before_train_iter(self.runner, number, batch)
        self.wrapper.update_params(loss)
        self.hook.after_train_iter(self.runner, number, batch, dict(loss=loss))
        self.runner.iter += 1


def test_fp16_has_a_patience_of_its_own(tmp_path):
    """The first overflows are how the loss scale is found."""
    steps = Steps(
        tmp_path, AmpOptimWrapper, dtype='float16', hook=dict(patience=2, patience_fp16=5)
    )
    for _ in range(4):
        steps.take(math.inf)
    with pytest.raises(TrainingError, match='5 updates in a row'):
        steps.take(math.inf)
    assert 'gradients overflow in fp16, update skipped (1 so far), loss scale now' in steps.said[0]


def test_resumed_run_counts_from_its_skipped_updates(tmp_path):
    steps = Steps(tmp_path, skipped=4)
    steps.take()
    assert steps.said == []
    steps.take(math.nan)
    assert 'update skipped (1 in a row)' in steps.said[0]


def test_batch_of_an_earlier_window_is_not_blamed(tmp_path):
    """After a good update, gradients that are not finite are not those of the bad batch before."""
    steps = Steps(tmp_path, clip_grad=dict(max_norm=1.0))
    steps.take(math.nan)
    steps.take()

    def infinite_slope(weight):
        return (weight.sum() - weight.sum().detach()).abs().sqrt()

    for _ in range(2):
        steps.take(loss=infinite_slope)
    with pytest.raises(TrainingError, match=r'3 updates in a row .* on 4\.mp4'):
        steps.take(loss=infinite_slope)
    assert torch.load(tmp_path / 'nonfinite_step_5_process_0.pth')['files'] == ['4.mp4']


@DATASETS.register_module(force=True)
class NanClips(ToyClips):
    """Clips that are NaN."""

    def __getitem__(self, key):
        item = super().__getitem__(key)
        item['inputs'][:] = float('nan')
        return item


def one_epoch(tmp_path, **dataset):
    """15 updates, with a checkpoint after the 7th and the 14th."""
    cfg = toy_config(tmp_path, **{'model.data_preprocessor.blending': None})
    cfg.optim_wrapper.update(accumulative_counts=1)
    cfg.train_dataloader.dataset.update(size=30, **dataset)
    cfg.train_cfg.max_epochs = 1
    cfg.default_hooks.checkpoint.interval = 7
    return cfg


def test_late_reading_changes_nothing_but_when_it_is_known(tmp_path):
    """Weights, optimizer, counts and every logged value are those of reading each step."""
    checkpoints = []
    for interval in (1, 4, 100):
        cfg = one_epoch(tmp_path / str(interval), bad=3)
        runner = build_runner(cfg)
        runner.reading_interval = interval
        runner.train()
        text = Path(runner.log_dir, f'{runner.timestamp}.log').read_text()
        assert text.count('update skipped (1 in a row)') == 1
        checkpoints.append(last_checkpoint(cfg.work_dir))
        for series in checkpoints[-1]['message_hub']['log_scalars'].values():
            series['values'] = series['values'].nan_to_num(nan=-1)  # NaN is not equal to itself
    assert checkpoints[0]['optimizer']['skip_counts'] == (1, 0, True)
    for other in checkpoints[1:]:
        assert differences(checkpoints[0], other) == []
        assert other['optimizer']['skip_counts'] == (1, 0, True)


@pytest.mark.parametrize('interval', [4, 100])
def test_run_ends_at_the_next_reading_point_and_names_the_first_batch(tmp_path, interval):
    runner = build_runner(one_epoch(tmp_path, type='NanClips'))
    runner.reading_interval = interval
    with pytest.raises(TrainingError, match=r'3 updates in a row .* step 3, .*_3_process_0'):
        runner.train()
    # A checkpoint every 7 steps is a reading point, too.
    assert runner.iter + 1 == min(interval, 7)
    saved = torch.load(tmp_path / 'nonfinite_step_3_process_0.pth', weights_only=False)
    assert saved['step'] == 3
    assert len(saved['files']) == 2
    assert all(bool(torch.isfinite(v).all()) for v in runner.bare_model.state_dict().values())


def test_only_batches_whose_outcome_is_open_are_kept(tmp_path):
    steps = Steps(tmp_path)
    for _ in range(5):
        steps.take()
    assert not steps.hook._waiting
    steps.runner.reading_interval, steps.runner.max_iters = 100, 100
    steps.runner.train_dataloader = range(1000)
    for _ in range(5):
        steps.take()
    assert len(steps.hook._waiting) == 5  # on a CPU nothing arrives before it is read
    steps.hook._waiting[0].values.arrived = lambda: True
    steps.take()
    assert len(steps.hook._waiting) == 5
