import os
import signal

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner.base_loop import BaseLoop
from torch import nn

from mmaction.errors import ConfigError
from mmaction.evaluation.metrics import AccMetric, ConfusionMatrix
from mmaction.models.recognizers import Recognizer3D
from mmaction.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS
from tests.engine.toy import CLASSES, ToyClips, build_runner, toy_config


@DATASETS.register_module(force=True)
class FailingClips(ToyClips):
    """Clips of which the first raises, takes its process with it, or has no pixels."""

    def __init__(self, crashes=False, empty=False, **kwargs):
        super().__init__(**kwargs)
        self.crashes, self.empty = crashes, empty

    def __getitem__(self, key):
        if int(key) == 0 and self.crashes:
            os.kill(os.getpid(), signal.SIGSEGV)
        if int(key) == 0 and self.empty:
            clip = super().__getitem__(key)
            return dict(clip, inputs=clip['inputs'][..., :0])
        if int(key) == 0:
            raise KeyError('imgs')
        return super().__getitem__(key)


@DATASETS.register_module(force=True)
class ClipsOfSeveralLabels(ToyClips):
    """Clips with a vector of labels."""

    def __getitem__(self, key):
        clip = super().__getitem__(key)
        clip['data_samples'].gt_label = torch.ones(CLASSES)
        return clip


@MODELS.register_module(force=True)
class PooledNorm(nn.Module):
    """A backbone with BatchNorm on pooled features."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.linear = nn.Linear(3, 8)

    def forward(self, x):
        return self.linear(self.norm(x.mean((2, 3, 4))))[:, :, None, None, None]


def prepared(tmp_path, **changes):
    cfg = toy_config(tmp_path, **changes)
    runner = build_runner(cfg)
    runner.prepare('train')
    return runner


def test_a_pipeline_that_fails_is_found_before_training(tmp_path):
    cfg = toy_config(tmp_path, **{'val_dataloader.dataset.type': 'FailingClips'})
    message = (
        r'val_dataloader: its pipeline fails on the first clip: KeyError: imgs \(.*, line \d+\)'
    )
    with pytest.raises(ConfigError, match=message):
        build_runner(cfg).prepare('train')


def test_a_clip_that_crashes_its_reader_is_left_to_the_run(tmp_path):
    dataset = dict(type='FailingClips', crashes=True)
    prepared(tmp_path, **{'val_dataloader.dataset': dataset})


def test_clips_that_the_model_cannot_take(tmp_path):
    with pytest.raises(ConfigError, match=r'cannot take the first train clip of shape \(1, 3, 4,'):
        prepared(tmp_path, **{'model.data_preprocessor.mean': [1.0] * 4})


def test_a_pipeline_that_leaves_nothing_of_a_clip(tmp_path):
    dataset = dict(type='FailingClips', empty=True)
    with pytest.raises(ConfigError, match=r'val_dataloader: .* leaves nothing of a clip of shape'):
        prepared(tmp_path, **{'val_dataloader.dataset': dataset})


def test_metrics_for_one_label_that_meet_several(tmp_path):
    message = (
        'val_evaluator: AccMetric cannot take the first val clip: top_k_accuracy needs one label '
        'for each clip, but these have several: use mean_average_precision'
    )
    with pytest.raises(ConfigError, match=message):
        prepared(tmp_path, **{'val_dataloader.dataset.type': 'ClipsOfSeveralLabels'})


@METRICS.register_module(force=True)
class AreaUnderCurve(AccMetric):
    """A metric of the user's that one clip is too few for."""

    def compute_metrics(self, results):
        if len({int(result['label']) for result in results}) < 2:
            raise ValueError('only one class present')
        return super().compute_metrics(results)


def test_metrics_of_the_users_wait_for_all_clips(tmp_path):
    prepared(tmp_path, **{'val_evaluator.type': 'AreaUnderCurve'})


@HOOKS.register_module(force=True)
class AddsScore(Hook):
    """A hook of the user's that adds a metric before checkpoints are compared by it."""

    priority = 'HIGH'

    def after_val_epoch(self, runner, metrics=None):
        metrics['mine/accuracy'] = 0.5


def test_early_stopping_by_a_metric_that_is_not_there(tmp_path):
    hook = dict(type='EarlyStoppingHook', monitor='acc/top5')
    with pytest.raises(
        ConfigError, match=r'EarlyStoppingHook\.monitor: validation gives no "acc/to'
    ):
        prepared(tmp_path / 'a', custom_hooks=[hook])
    prepared(tmp_path / 'b', custom_hooks=[dict(hook, monitor='acc/top1')])


def test_metrics_that_a_hook_adds(tmp_path):
    best = {'default_hooks.checkpoint.save_best': 'mine/accuracy'}
    with pytest.raises(ConfigError, match='validation gives no "mine/accuracy"'):
        prepared(tmp_path, **best)
    prepared(tmp_path, **best, custom_hooks=[dict(type='AddsScore')])


@LOOPS.register_module(force=True)
class LoopWithoutEvaluator(BaseLoop):
    """A validation of the user's."""

    def __init__(self, runner, dataloader, evaluator):
        super().__init__(runner, dataloader)

    def run(self):
        pass


@MODELS.register_module(force=True)
class ScoresAlone(Recognizer3D):
    """A model that predicts no samples."""

    def predict(self, inputs, data_samples=None, **kwargs):
        samples = super().predict(inputs, data_samples, **kwargs)
        return torch.stack([sample.pred_score for sample in samples])


@DATASETS.register_module(force=True)
class Pairs:
    """Clips and labels that are packed as a pair, not as a dict."""

    metainfo = dict(classes=['even', 'odd'])

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return torch.randn(3, 2, 4, 4), index % 2


@MODELS.register_module(force=True)
class PairModel(BaseModel):
    """A model that is no recognizer and takes pairs."""

    def __init__(self):
        super().__init__(dict(type='BaseDataPreprocessor'))
        self.linear = nn.Linear(96, 2)

    def forward(self, clips, labels, mode):
        scores = self.linear(clips.flatten(1))
        if mode == 'loss':
            return dict(loss=nn.functional.cross_entropy(scores, labels))
        return list(zip(scores.argmax(1).tolist(), labels.tolist(), strict=True))


@METRICS.register_module(force=True)
class PairMetric(BaseMetric):
    """The share of the pairs that agree."""

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return dict(accuracy=sum(a == b for a, b in results) / len(results))


def test_a_model_of_the_users_that_takes_no_dicts(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.model = dict(type='PairModel')
    cfg.train_cfg.max_epochs = 1
    cfg.val_evaluator = dict(type='PairMetric')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset, loader.collate_fn = dict(type='Pairs'), dict(type='default_collate')
    runner = build_runner(cfg)
    runner.train()
    assert runner.message_hub.get_scalar('val/accuracy').current() in (0, 0.25, 0.5, 0.75, 1)


@pytest.mark.parametrize(
    'changes', [{'val_cfg.type': 'LoopWithoutEvaluator'}, {'model.type': 'ScoresAlone'}]
)
def test_loops_and_models_of_the_users(tmp_path, changes):
    prepared(tmp_path, **changes)


def test_metrics_wait_for_a_clip_that_can_be_read():
    metric = ConfusionMatrix()
    assert metric.try_clip(dict(unreadable='cut off', gt_label=torch.tensor([1]))) is None


def test_the_trial_leaves_nothing_in_the_metrics(tmp_path):
    (metric,) = prepared(tmp_path).val_loop.evaluator.metrics
    assert not metric.results


def test_the_trial_leaves_weights_statistics_and_random_state_alone(tmp_path):
    cfg = toy_config(tmp_path)
    runner = build_runner(cfg)
    before = {k: v.clone() for k, v in runner.bare_model.state_dict().items()}
    state = torch.get_rng_state()
    runner.prepare('train')
    assert torch.equal(torch.get_rng_state(), state)
    assert runner.bare_model.training
    after = runner.bare_model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_infinite_sampler_with_an_epoch_loop(tmp_path):
    sampler = dict(type='InfiniteSampler', shuffle=True)
    with pytest.raises(ConfigError, match=r'train_dataloader\.sampler: an InfiniteSampler never'):
        prepared(tmp_path, **{'train_dataloader.sampler': sampler})
    cfg = toy_config(tmp_path, **{'train_dataloader.sampler': sampler})
    cfg.train_cfg = dict(by_epoch=False, max_iters=4, val_interval=4)
    cfg.param_scheduler = []
    build_runner(cfg).prepare('train')


def test_drop_last_that_leaves_no_batch(tmp_path):
    changes = {'train_dataloader.batch_size': 15, 'train_dataloader.drop_last': True}
    with pytest.raises(
        ConfigError, match='batch_size=15 with drop_last=True leaves no batch of 14'
    ):
        prepared(tmp_path, **changes)
    with pytest.raises(ConfigError, match='drop_last=True would leave the last clips out'):
        prepared(tmp_path, **{'val_dataloader.drop_last': True})


def test_a_last_batch_of_one_with_batch_norm(tmp_path):
    changes = {'model.backbone': dict(_delete_=True, type='PooledNorm')}
    changes['train_dataloader.batch_size'] = 13
    with pytest.raises(ConfigError, match=r'last batch .* one clip, .* \(backbone\.norm\)'):
        prepared(tmp_path, **changes)
    prepared(tmp_path, **changes, **{'train_dataloader.drop_last': True})
    changes['train_dataloader.batch_size'] = 7
    prepared(tmp_path, **changes)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'optim_wrapper.optimizer.lr': -1.0}, 'optim_wrapper: .*-1.0'),
        ({'param_scheduler': [dict(type='CosineAnnealingLR', begin=3, end=2)]}, 'begin=3, end=2'),
    ],
)
def test_optimizer_and_schedule_are_built_before_training(tmp_path, changes, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        prepared(tmp_path, **changes)
