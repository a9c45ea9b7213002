"""What works for every family of mmaction2's: one small network of each.

Of each kind a network or two are in the default suite where a check takes long; the slow tests
have them all.
"""

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from PIL import Image

from mmaction.apis import inference_recognizer
from mmaction.apis.inference import load_clip
from mmaction.apis.inferencers import ActionRecogInferencer
from mmaction.apis.sliding_window import classify_windows, window_span
from mmaction.apis.test_pipeline import pipeline_steps, steps_for
from mmaction.apis.web.explain import Explainer
from mmaction.datasets.video_source import VideoSource
from mmaction.engine.compile import compile_backbone, compiler_settings
from mmaction.models.backbones.dualformer_blocks import DropPath
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.visualization import GradCAM
from tests.models.zoo.networks import BY_FRAME, CLASSES, FAMILIES, FEW, SIZE, config, write
from tests.models.zoo.networks import recognizer as load
from tests.video_factory import write_video
from tools.analysis_tools.get_flops import count
from tools.deployment import export


def families(quick=FEW, without=()):
    """All families, those but the quick ones for the slow tests."""
    return [
        name if name in quick else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES
        if name not in without
    ]


@pytest.fixture(scope='module')
def model(request, tmp_path_factory):
    """The recognizer of a family, from a config file."""
    return load(write(tmp_path_factory.mktemp('zoo'), request.param)[0])


@pytest.fixture(scope='module')
def video():
    """A video (90, 40, 48, 3) of slow noise."""
    coarse = np.random.default_rng(0).integers(0, 256, (90, 5, 6, 3), dtype=np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def backbone_input(family, batch=2):
    """Frames or clips for the backbone."""
    generator = torch.Generator().manual_seed(1)
    cfg = config(family)
    (step,) = [step for step in cfg['test_pipeline'] if 'clip_len' in step]
    frames = step['clip_len'] * step.get('num_clips', 1)
    shape = (batch * frames, 3) if family in BY_FRAME else (batch, 3, frames)
    return torch.randn(*shape, SIZE, SIZE, generator=generator)


def network(family, with_cp=None):
    """The backbone of a family in training mode, with no branch that starts at zero."""
    torch.manual_seed(0)
    backbone = MODELS.build(dict(config(family, with_cp)['model']['backbone'])).train()
    for parameter in backbone.parameters():
        if not parameter.count_nonzero():
            torch.nn.init.normal_(parameter, std=0.1)
    return backbone


def run(backbone, family):
    """Outputs, and gradients of their squares."""
    torch.manual_seed(2)
    out = backbone(backbone_input(family))
    maps = []

    def flatten(part):
        if isinstance(part, torch.Tensor):
            maps.append(part)
        else:
            for each in part:
                flatten(each)

    flatten(out)
    sum(each.square().mean() for each in maps).backward()
    return torch.cat([each.detach().flatten() for each in maps]), {
        name: p.grad for name, p in backbone.named_parameters() if p.grad is not None
    }


def check_equal(result, expected, rtol):
    torch.testing.assert_close(result[0], expected[0], rtol=rtol, atol=1e-5)
    assert list(result[1]) == list(expected[1])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(result[1][name], gradient, rtol=rtol, atol=1e-5, msg=name)


# C3D has no blocks
@pytest.mark.parametrize('family', families(without=('c3d',)))
def test_checkpointing_changes_no_gradient_and_keeps_fewer_activations(family):
    results, sizes = [], []
    for with_cp in (False, True):
        kept = []
        backbone = network(family, with_cp=with_cp)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, k=kept: k.append(t.numel()) or t, lambda t: t
        ):
            results.append(run(backbone, family))
        sizes.append(sum(kept))
    check_equal(results[1], results[0], 1e-4)
    assert sizes[1] < sizes[0]


def without_drop_path(backbone):
    """Compiled, it draws others."""
    for module in backbone.modules():
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    return backbone


@pytest.mark.parametrize('family', families(quick=('tsm', 'videomae')))
def test_compiled_networks_give_the_same(family):
    """As `compile=dict(backend='aot_eager')` of a config does it."""
    expected = run(without_drop_path(network(family)), family)
    model = MODELS.build(dict(type='Recognizer3D', backbone=config(family)['model']['backbone']))
    model.backbone = without_drop_path(network(family))
    names = list(model.state_dict())
    failures = []
    torch.compiler.reset()  # blocks of other families are of the same classes
    compile_backbone(model, dict(backend='aot_eager', fullgraph=True), failures.append)
    with compiler_settings(for_inference=False):
        check_equal(run(model.backbone, family), expected, 1e-3)
    assert failures == []
    assert list(model.state_dict()) == names


@pytest.mark.parametrize('family', families())
def test_flops_grow_with_the_clip(family):
    backbone = network(family)
    by_frame = family in BY_FRAME
    frames = len(backbone_input(family, 1)) if by_frame else backbone_input(family, 1).shape[2]
    parameters, flops = count(backbone, (frames, SIZE, SIZE), by_frame=by_frame)
    assert parameters == sum(p.numel() for p in backbone.parameters())
    # at least each weight of a convolution or linear layer once, but for a patch that it takes in
    assert flops.total() > parameters / 4


@pytest.mark.parametrize('family', families(without=('c3d',)))
def test_layer_decay_knows_the_layers(family):
    model = MODELS.build(config(family)['model'])
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1.0),
            constructor='LearningRateDecayOptimizerConstructor',
            paramwise_cfg=dict(decay_rate=0.5),
        ),
    )
    rates = {
        id(p): group['lr'] for group in wrapper.optimizer.param_groups for p in group['params']
    }
    named = {name: rates[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    assert named[next(n for n in named if n.startswith('cls_head'))] == 1
    first = next(name for name in named if name.startswith('backbone'))
    assert named[first] == min(named.values()) <= 0.25


@pytest.mark.parametrize('model', families(), indirect=True)
def test_grad_cam_and_inferencer(model, video):
    """A map for each frame or part of the clip, and the classes of its center crop."""
    steps = steps_for(pipeline_steps(model.cfg), 'array', one_view=True)
    clip = load_clip(model, video, steps)
    batch = dict(inputs=[clip['inputs']], data_samples=[ActionDataSample()])
    maps, logits, _ = GradCAM(model).raw_saliency(batch)
    assert logits.shape == (1, CLASSES)
    assert maps.ndim == 4
    assert 0 <= maps.amin() < maps.amax() < float('inf')
    (sample,) = ActionRecogInferencer(model)(video)['predictions']
    expected = inference_recognizer(model, video, steps).pred_score
    torch.testing.assert_close(
        torch.as_tensor(sample['pred_scores']), expected, rtol=1e-4, atol=1e-5
    )
    assert expected.std() > 1e-3


@pytest.mark.parametrize('model', families(), indirect=True)
def test_windows_of_a_long_video(model, video):
    """Each is classified as the frames that the network sees of it alone."""
    windows = list(classify_windows(model, VideoSource(video), stride=1.0, batch_size=3))
    assert windows[0].start == 0
    assert windows[-1].stop == len(video)
    (step,) = [dict(step) for step in pipeline_steps(model.cfg) if 'clip_len' in step]
    interval = 16 if model.cfg.model.type == 'Recognizer2D' else step['frame_interval']
    frames = step['clip_len'] * step.get('num_clips', 1)
    assert window_span(model) == (frames - 1) * interval + 1
    steps = steps_for(pipeline_steps(model.cfg), 'array', one_view=True)
    steps[0].update(frame_interval=1)
    for window in windows[:2]:
        seen = video[window.start : window.stop : interval]
        assert len(seen) == frames
        alone = inference_recognizer(model, seen, steps).pred_score.numpy()
        np.testing.assert_allclose(window.scores, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('model', families(quick=()), indirect=True)
def test_web_page(model, tmp_path):
    """Scores and Grad-CAM; the quick twin is in tests/apis/web/test_explain.py."""
    clip = write_video(tmp_path / 'clip.mp4', 90, 48, 40)
    result = Explainer(model)(clip, tmp_path, lambda *_: None)
    assert len(result['top']) == CLASSES
    assert result['maps'][0]['title'] == 'Grad-CAM', result.get('no_maps')
    sizes = {Image.open(tmp_path / name).size for name in ('clip.jpg', result['maps'][0]['file'])}
    assert len(sizes) == 1


@pytest.mark.parametrize('suffix', ['.onnx', '.pt2'])
@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.slow
def test_exports(family, suffix, tmp_path, capsys):
    """The tool holds the file against the recognizer; its own check has its test."""
    if suffix == '.onnx':
        pytest.importorskip('onnxruntime')
    path, weights = write(tmp_path, family)
    export.main([str(path), str(weights), str(tmp_path / f'x{suffix}')])
    assert 'differs from the model by at most' in capsys.readouterr().out


@pytest.mark.parametrize('family', families((*FEW, 'tsn', 'c2d'), without=('c3d', 'tsm_mobilenet')))
def test_order_of_frames_counts_but_for_tsn_and_c2d(family, tmp_path):
    """A video played backwards is another one to all that do not merely pool over time.

    Left out are C3D, whose size takes 20 s, and MobileNet, whose random weights see nothing.
    """
    model = load(write(tmp_path, family)[0]).eval()
    model.cls_head.average_clips = 'score'
    frames = len(backbone_input(family, 1)) if family in BY_FRAME else 4
    clip = torch.rand(1, 1, 3, frames, SIZE, SIZE)
    with torch.no_grad():
        ahead, back = (
            model(each, [ActionDataSample()], mode='predict')[0].pred_score
            for each in (clip, clip.flip(3))
        )
    same = torch.allclose(ahead, back, rtol=1e-6)
    assert same == (family in ('tsn', 'c2d'))
