"""Names, signatures and behavior that scripts written for mmaction2 1.x rely on."""

import importlib
import inspect
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import Registry
from packaging.version import Version
from torch import nn

import mmaction
from mmaction import mmaction2_names, registry
from mmaction.apis.inferencers import ActionRecogInferencer, MMAction2Inferencer
from mmaction.models import ActionDataPreprocessor
from mmaction.version import parse_version_info
from tests.apis.conftest import CLASSES, tiny_config
from tests.video_factory import write_video

ROOT = Path(__file__).parents[1]


NAMES = {
    'mmaction': '__version__',
    'mmaction.apis': 'init_recognizer inference_recognizer ActionRecogInferencer '
    'MMAction2Inferencer',
    'mmaction.apis.inferencers': 'ActionRecogInferencer MMAction2Inferencer',
    'mmaction.datasets': 'BaseActionDataset VideoDataset RawframeDataset RepeatAugDataset '
    'repeat_pseudo_collate SampleFrames DecordInit PackActionInputs',
    'mmaction.datasets.transforms': 'SampleFrames DenseSampleFrames UniformSample '
    'UntrimmedSampleFrames DecordInit DecordDecode OpenCVInit OpenCVDecode PyAVInit PyAVDecode '
    'PIMSInit PIMSDecode '
    'RawFrameDecode ArrayDecode ImageDecode BuildPseudoClip InferencerPackInput Resize '
    'RandomRescale RandomCrop RandomResizedCrop MultiScaleCrop CenterCrop ThreeCrop TenCrop Flip '
    'ColorJitter TorchVisionWrapper Fuse FormatShape PackActionInputs Transpose LoadHVULabel',
    'mmaction.datasets.transforms.loading': 'DecordInit DecordDecode RawFrameDecode '
    'InferencerPackInput LoadHVULabel LoadRGBFromFile SampleFrames',
    'mmaction.datasets.transforms.processing': 'Resize Flip Fuse',
    'mmaction.datasets.transforms.formatting': 'FormatShape PackActionInputs Transpose',
    'mmaction.datasets.transforms.wrappers': 'TorchVisionWrapper',
    'mmaction.models': 'BaseRecognizer Recognizer2D Recognizer3D BaseHead I3DHead TSNHead '
    'CrossEntropyLoss BCELossWithLogits CBFocalLoss HVULoss NLLLoss BaseWeightedLoss '
    'ActionDataPreprocessor BaseMiniBatchBlending MixupBlending CutmixBlending RandomBatchAugment',
    'mmaction.models.backbones.c2d': 'C2D',
    'mmaction.models.backbones.mobilenet_v2_tsm': 'MobileNetV2TSM',
    'mmaction.models.backbones.resnet2plus1d': 'ResNet2Plus1d',
    'mmaction.models.backbones.resnet3d': 'ResNet3d',
    'mmaction.models.backbones.resnet3d_csn': 'ResNet3dCSN',
    'mmaction.models.backbones.resnet3d_slowfast': 'ResNet3dPathway ResNet3dSlowFast',
    'mmaction.models.backbones.resnet3d_slowonly': 'ResNet3dSlowOnly',
    'mmaction.models.backbones.resnet_tin': 'ResNetTIN TemporalInterlace',
    'mmaction.models.common': 'Conv2plus1d TAM',
    'mmaction.models.common.conv2plus1d': 'Conv2plus1d',
    'mmaction.models.common.tam': 'TAM',
    'mmaction.models.heads.base': 'AvgConsensus BaseHead',
    'mmaction.models.heads.mvit_head': 'MViTHead',
    'mmaction.models.heads.slowfast_head': 'SlowFastHead',
    'mmaction.models.heads.timesformer_head': 'TimeSformerHead',
    'mmaction.models.heads.tpn_head': 'TPNHead',
    'mmaction.models.heads.trn_head': 'RelationModule RelationModuleMultiScale TRNHead',
    'mmaction.models.heads.tsm_head': 'TSMHead',
    'mmaction.models.heads.uniformer_head': 'UniFormerHead',
    'mmaction.models.heads.x3d_head': 'X3DHead',
    'mmaction.models.losses.nll_loss': 'NLLLoss',
    'mmaction.models.utils': 'BaseMiniBatchBlending CutmixBlending MixupBlending '
    'RandomBatchAugment',
    'mmaction.models.utils.blending_utils': 'BaseMiniBatchBlending',
    'mmaction.structures': 'ActionDataSample',
    'mmaction.evaluation': 'AccMetric ConfusionMatrix top_k_accuracy mean_class_accuracy',
    'mmaction.evaluation.metrics': 'AccMetric ConfusionMatrix',
    'mmaction.evaluation.metrics.acc_metric': 'AccMetric ConfusionMatrix',
    'mmaction.evaluation.functional': 'top_k_accuracy top_k_classes mean_class_accuracy '
    'confusion_matrix mean_average_precision mmit_mean_average_precision get_weighted_score '
    'softmax',
    'mmaction.evaluation.functional.accuracy': 'top_k_accuracy top_k_classes mean_class_accuracy '
    'confusion_matrix mean_average_precision mmit_mean_average_precision get_weighted_score '
    'softmax',
    'mmaction.engine': 'OutputHook VisualizationHook TSMOptimWrapperConstructor '
    'SwinOptimWrapperConstructor LearningRateDecayOptimizerConstructor '
    'MultiLoaderEpochBasedTrainLoop',
    'mmaction.engine.hooks': 'OutputHook VisualizationHook',
    'mmaction.engine.hooks.visualization_hook': 'VisualizationHook',
    'mmaction.engine.model': 'ConvBranchInit',
    'mmaction.engine.optimizers': 'TSMOptimWrapperConstructor SwinOptimWrapperConstructor '
    'LearningRateDecayOptimizerConstructor',
    'mmaction.engine.optimizers.layer_decay_optim_wrapper_constructor': (
        'LearningRateDecayOptimizerConstructor'
    ),
    'mmaction.engine.runner': 'MultiLoaderEpochBasedTrainLoop',
    'mmaction.visualization': 'ActionVisualizer LocalVisBackend TensorboardVisBackend '
    'WandbVisBackend',
    'mmaction.visualization.action_visualizer': 'ActionVisualizer',
    'mmaction.visualization.video_backend': 'LocalVisBackend TensorboardVisBackend WandbVisBackend',
    'mmaction.utils': 'register_all_modules collect_env frame_extract GradCAM get_str_type '
    'VideoWriter track track_on_main_process get_random_string get_thread_id get_shm_dir '
    'ConfigType OptConfigType SampleList OptSampleList ForwardResults',
    'mmaction.utils.collect_env': 'collect_env',
    'mmaction.utils.gradcam_utils': 'GradCAM',
    'mmaction.utils.progress': 'track track_on_main_process',
    'mmaction.testing': 'get_recognizer_cfg get_cfg check_norm_state '
    'generate_backbone_demo_inputs generate_recognizer_demo_inputs',
}


@pytest.mark.parametrize('module', NAMES)
def test_public_names(module):
    found = importlib.import_module(module)
    missing = [name for name in NAMES[module].split() if not hasattr(found, name)]
    assert not missing


@pytest.mark.parametrize('module', sorted(name for name in NAMES if name.count('.') == 1))
def test_star_import(module):
    names = {}
    exec(f'from {module} import *', names)
    if module != 'mmaction.testing':
        assert set(NAMES[module].split()) - {'__version__'} <= set(names)


def test_moved_modules_are_those_of_the_new_names():
    for old, new in mmaction2_names._MOVED.items():
        assert f'mmaction.{old}' in NAMES
        found = importlib.import_module(f'mmaction.{old}')
        assert found is importlib.import_module(f'mmaction.{new}')
        assert found.__spec__.name == f'mmaction.{new}'


@pytest.mark.parametrize(
    ('statement', 'message'),
    [
        ('from mmaction.datasets import AVADataset', 'for detection of actions in space, which'),
        ('import mmaction.models.localizers.bmn', r'models.localizers" is .* localization in time'),
        ('from mmaction.models.backbones.resnet3d import Bottleneck3d', 'with other arguments'),
        ('from mmaction.models.backbones.resnet import BasicBlock', 'with other arguments'),
        ('from mmaction.models.builder import BACKBONES', 'MODELS for all parts of models'),
        ('from mmaction.datasets.pipelines import Resize', 'in mmaction.datasets.transforms'),
        ('from mmaction.utils import get_root_logger', 'MMLogger.get_current_instance'),
    ],
)
def test_imports_of_what_is_not_here_say_why(statement, message):
    with pytest.raises(ImportError, match=message):
        exec(statement)


def test_other_names_are_missing_as_always():
    with pytest.raises(ModuleNotFoundError, match=r"named 'mmaction\.models\.resnet4d'"):
        importlib.import_module('mmaction.models.resnet4d')
    with pytest.raises(ImportError, match="cannot import name 'Bottleneck4d'"):
        exec('from mmaction.models.backbones.resnet3d import Bottleneck4d')
    assert not hasattr(importlib.import_module('mmaction.datasets'), 'AVADataset')


def test_registries():
    names = (
        'RUNNERS RUNNER_CONSTRUCTORS LOOPS HOOKS DATASETS DATA_SAMPLERS TRANSFORMS MODELS '
        'MODEL_WRAPPERS WEIGHT_INITIALIZERS OPTIMIZERS OPTIM_WRAPPERS OPTIM_WRAPPER_CONSTRUCTORS '
        'PARAM_SCHEDULERS METRICS EVALUATOR TASK_UTILS VISUALIZERS VISBACKENDS LOG_PROCESSORS '
        'INFERENCERS FUNCTION TOKENIZER'
    )
    for name in names.split():
        assert isinstance(getattr(registry, name), Registry), name
        assert getattr(registry, name).scope == 'mmaction', name


def parameters_of(target):
    return {
        name: None if p.default is p.empty else p.default
        for name, p in inspect.signature(target).parameters.items()
        if name != 'self' and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }


def named(path):
    module, _, name = path.rpartition('.')
    return getattr(importlib.import_module(f'mmaction.{module}'), name)


@pytest.mark.parametrize(
    ('path', 'expected'),
    [
        ('utils.register_all_modules', dict(init_default_scope=True)),
        ('utils.frame_extract', dict(video_path=None, short_side=None, out_dir='./tmp')),
        ('utils.VideoWriter', dict(video_file=None, fps=None)),
        ('utils.track', dict(sequence=None, description='', total=None)),
        (
            'utils.GradCAM',
            dict(model=None, target_layer_name=None, colormap='viridis'),
        ),
        ('testing.get_cfg', dict(config_type=None, fname=None)),
        ('testing.check_norm_state', dict(modules=None, train_state=None)),
        ('engine.OutputHook', dict(module=None, outputs=None, as_tensor=False)),
        (
            'engine.VisualizationHook',
            dict(enable=False, interval=5000, show=False, out_dir=None),
        ),
        (
            'engine.MultiLoaderEpochBasedTrainLoop',
            dict(runner=None, dataloader=None, other_loaders=None, max_epochs=None),
        ),
        (
            'models.ActionDataPreprocessor',
            dict(
                mean=None,
                std=None,
                to_rgb=False,
                to_float32=True,
                blending=None,
                format_shape='NCHW',
            ),
        ),
        ('models.MixupBlending', dict(num_classes=None, alpha=0.2)),
        ('models.RandomBatchAugment', dict(augments=None, probs=None)),
        ('models.CrossEntropyLoss', dict(loss_weight=1.0, class_weight=None)),
        ('models.CBFocalLoss', dict(loss_weight=1.0, beta=0.9999, gamma=2.0)),
        (
            'models.BaseRecognizer',
            dict(
                backbone=None,
                cls_head=None,
                neck=None,
                train_cfg=None,
                test_cfg=None,
                data_preprocessor=None,
            ),
        ),
        (
            'models.I3DHead',
            dict(
                num_classes=None,
                in_channels=None,
                spatial_type='avg',
                dropout_ratio=0.5,
                init_std=0.01,
            ),
        ),
        (
            'datasets.VideoDataset',
            dict(ann_file=None, pipeline=None, start_index=0, delimiter=' '),
        ),
        (
            'datasets.BaseActionDataset',
            dict(
                ann_file=None,
                pipeline=None,
                test_mode=False,
                multi_class=False,
                num_classes=None,
                start_index=0,
                modality='RGB',
            ),
        ),
        (
            'datasets.SampleFrames',
            dict(
                clip_len=None,
                frame_interval=1,
                num_clips=1,
                temporal_jitter=False,
                twice_sample=False,
                out_of_bound_opt='loop',
                test_mode=False,
                keep_tail_frames=False,
                target_fps=None,
            ),
        ),
        ('apis.init_recognizer', dict(config=None, checkpoint=None)),
        ('apis.inference_recognizer', dict(model=None, video=None, test_pipeline=None)),
        (
            'apis.ActionRecogInferencer',
            dict(model=None, weights=None, device=None, label_file=None, pack_cfg=None),
        ),
        (
            'apis.MMAction2Inferencer',
            dict(rec=None, rec_weights=None, device=None, label_file=None),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_arguments_and_their_defaults(path, expected):
    found = parameters_of(named(path))
    assert {name: found.get(name, 'missing') for name in expected} == expected


def test_version_follows_mmaction2():
    assert mmaction.__version__ == '1.3.0'
    assert parse_version_info('1.2.0rc1') == (1, 2, 0, 'rc1')
    assert Version('1.0') <= Version(mmaction.__version__)
    from mmaction.version import version_info

    assert version_info >= (1, 0)


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / 'clip.mp4', 20, 64, 48, fps=25)
    return str(tmp_path / 'clip.mp4')


@pytest.fixture
def inferencer(tmp_path):
    tiny_config().dump(tmp_path / 'config.py')
    return MMAction2Inferencer(str(tmp_path / 'config.py'), device='cpu', input_format='video')


def test_unified_inferencer_returns_predictions_and_visualization(inferencer, video, tmp_path):
    out = tmp_path / 'out'
    result = inferencer(
        video,
        vid_out_dir=str(out),
        return_vis=True,
        out_type='video',
        fps=30,
        target_resolution=None,
        show=False,
        wait_time=0,
        draw_pred=True,
        print_result=False,
        pred_out_file='',
        batch_size=1,
        return_datasample=False,
    )
    assert set(result) == {'predictions', 'visualization'}
    (frames,) = result['visualization']
    assert frames.shape == (20, 48, 64, 3)
    assert frames.dtype == np.uint8
    assert (out / 'clip.mp4').is_file()
    (prediction,) = result['predictions']
    assert np.shape(prediction['rec_scores']) == (1, CLASSES)
    assert prediction['rec_labels'] == [[int(np.argmax(prediction['rec_scores']))]]


def test_visualization_is_none_unless_it_is_asked_for(inferencer, video):
    assert inferencer(video, vid_out_dir='')['visualization'] is None


def test_frames_without_predictions_are_those_of_the_video(inferencer, video):
    (plain,) = inferencer(video, return_vis=True, draw_pred=False)['visualization']
    (drawn,) = inferencer(video, return_vis=True)['visualization']
    from mmaction.datasets.video_source import VideoSource

    frames = VideoSource(video)
    assert np.array_equal(plain, frames.read(np.arange(len(frames))))
    assert not np.array_equal(plain, drawn)


@pytest.mark.parametrize('ending', ['json', 'yaml', 'pkl'])
def test_prediction_files_hold_a_dict(inferencer, video, tmp_path, ending):
    from mmengine.fileio import load

    out = tmp_path / f'predictions.{ending}'
    result = inferencer(video, pred_out_file=str(out))
    written = load(out)['predictions']
    assert written[0]['rec_labels'] == result['predictions'][0]['rec_labels']


def test_prediction_file_of_another_ending_is_refused_at_once(inferencer, video):
    with pytest.raises(ValueError, match=r'p.txt must end in .json, .yaml or .pkl'):
        inferencer(video, pred_out_file='p.txt')


def test_pack_cfg_of_frame_folders(tmp_path):
    for i in range(3, 23):
        cv2.imwrite(str(tmp_path / f'f{i}.png'), np.full((48, 64, 3), i, np.uint8))
    pack = dict(type='InferencerPackInput', start_index=3, filename_tmpl='f{}.png')
    built = ActionRecogInferencer(tiny_config(), device='cpu', pack_cfg=pack)
    assert len(built(str(tmp_path))['predictions']) == 1
    with pytest.raises(ValueError, match=r"pack_cfg has unknown keys \['template'\]"):
        ActionRecogInferencer(tiny_config(), device='cpu', pack_cfg=dict(template='f{}.png'))


def test_packed_inputs(video, tmp_path):
    from mmaction.datasets.transforms import InferencerPackInput

    base = dict(label=-1, modality='RGB', start_index=0)
    assert InferencerPackInput()(video) == dict(filename=video, **base)
    array = np.zeros((4, 6, 8, 3), np.uint8)
    packed = InferencerPackInput('array')(array)
    assert packed.pop('array') is array
    assert packed == dict(total_frames=4, **base)
    folder = tmp_path / 'frames'
    folder.mkdir()
    for i in range(1, 4):
        cv2.imwrite(str(folder / f'img_{i:05}.jpg'), array[0])
    assert InferencerPackInput('rawframes', modality='Flow')(str(folder)) == dict(
        frame_dir=str(folder),
        filename_tmpl='img_{:05}.jpg',
        total_frames=3,
        label=-1,
        modality='Flow',
        start_index=1,
    )
    assert InferencerPackInput('dict')(dict(filename='x.mp4'))['filename'] == 'x.mp4'
    with pytest.raises(ValueError, match=r"must be one of .*'rawframes'"):
        InferencerPackInput('frames')


@pytest.mark.parametrize(
    ('format_shape', 'shape'),
    [('NCHW', (3, 1, 1)), ('NCTHW', (3, 1, 1, 1)), ('MIX2d3d', (3, 1, 1, 1))],
)
def test_mean_and_std_broadcast_over_a_batch(format_shape, shape):
    mean, std = [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    preprocessor = ActionDataPreprocessor(mean, std, format_shape=format_shape)
    assert preprocessor.mean.shape == preprocessor.std.shape == shape
    assert preprocessor.mean.flatten().tolist() == mean
    assert not preprocessor.state_dict()
    clip = torch.randint(0, 256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    if format_shape != 'NCHW':
        expected = (clip - preprocessor.mean) / preprocessor.std
        found = preprocessor(dict(inputs=list(clip), data_samples=None))['inputs']
        assert torch.equal(found, expected)
        assert torch.equal(found[:, 1], (clip[:, 1] - 2.0) / 5.0)


def test_losses():
    from mmaction.models import CBFocalLoss, NLLLoss

    scores, label = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    assert NLLLoss(2.0)(scores.log_softmax(1), label) == pytest.approx(
        2 * float(nn.functional.cross_entropy(scores, label)), rel=1e-5
    )
    # Equal counts and no focus: binary cross entropy, summed over the classes.
    plain = CBFocalLoss(samples_per_cls=[7, 7, 7], gamma=0.0)(scores, label)
    target = nn.functional.one_hot(label, 3).float()
    terms = nn.functional.binary_cross_entropy_with_logits(scores, target, reduction='none')
    assert float(plain) == pytest.approx(float(terms.sum() / 5), rel=1e-5)
    # A rare class counts more, in the ratio of (1 - beta^n); what is certain counts nothing.
    loss = CBFocalLoss(samples_per_cls=[10, 1000, 1000], beta=0.99)
    assert float(loss.weights[0] / loss.weights[1]) == pytest.approx(
        (1 - 0.99**1000) / (1 - 0.99**10), rel=1e-5
    )
    assert float(loss.weights.mean()) == pytest.approx(1)
    scores.requires_grad_()
    right = torch.sigmoid(torch.where(target > 0, scores, -scores))
    focal = loss.weights[label][:, None] * (1 - right) ** 2 * -right.log()
    found, expected = loss(scores, label), focal.sum() / 5
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    gradients = [torch.autograd.grad(value, scores)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)
    with pytest.raises(ValueError, match='a positive number for each class'):
        CBFocalLoss(samples_per_cls=[1, 0])


def test_recognizer_configs_are_read_afresh():
    from mmaction.testing import get_cfg, get_recognizer_cfg

    name = 'dualformer/dualformer_tiny_patch244_window877_kinetics400_1k.py'
    cfg = get_recognizer_cfg(name)
    assert cfg.model.cls_head.num_classes == 400
    cfg.model.cls_head.num_classes = 7
    assert get_cfg('recognition', name).model.cls_head.num_classes == 400
    with pytest.raises(FileNotFoundError, match=r'did you mean "dualformer/dualformer_tiny'):
        get_recognizer_cfg(name.replace('tiny', 'tini'))


def test_check_norm_state_and_demo_inputs():
    from mmaction.testing import (
        check_norm_state,
        generate_backbone_demo_inputs,
        generate_recognizer_demo_inputs,
    )

    model = nn.Sequential(nn.BatchNorm3d(2), nn.Linear(2, 2))
    assert check_norm_state(model.modules(), True)
    model[0].eval()
    assert not check_norm_state(model.modules(), True)
    assert check_norm_state(model.modules(), False)
    assert generate_backbone_demo_inputs((2, 3, 4, 8, 8)).shape == (2, 3, 4, 8, 8)
    inputs = generate_recognizer_demo_inputs((2, 4, 3, 2, 8, 8), '3D')
    assert inputs['gt_labels'].tolist() == [2] * 4
    with pytest.raises(ValueError, match='does not go with'):
        generate_recognizer_demo_inputs(model_type='audio')


@pytest.mark.parametrize(
    'path',
    [
        'tools/train.py',
        'tools/test.py',
        'tools/dist_train.sh',
        'tools/dist_test.sh',
        'tools/slurm_train.sh',
        'tools/slurm_test.sh',
        'tools/deployment/publish_model.py',
        'tools/analysis_tools/analyze_logs.py',
        'tools/analysis_tools/confusion_matrix.py',
        'tools/analysis_tools/eval_metric.py',
        'tools/analysis_tools/get_flops.py',
        'tools/analysis_tools/print_config.py',
        'tools/data/kinetics/label_map_k400.txt',
        'demo/demo.py',
        'demo/demo_gradcam.py',
        'demo/long_video_demo.py',
    ],
)
def test_command_lines_are_where_mmaction2_has_them(path):
    assert (ROOT / path).is_file()
