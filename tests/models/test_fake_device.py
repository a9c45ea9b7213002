"""Every model on a GPU that is not there: no tensor left on the CPU, no waiting for values."""

import copy

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from mmaction.models import heads
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from mmaction.visualization import GradCAM, attention_saliency
from tests.models.backbones.reference import recorded
from tests.models.fake_gpu import FakeGpu, numpy_of_fake, to_fake_gpu
from tests.zoo import build as build_zoo
from tests.zoo import configs, names_of, zoo

CLASSES = 7
# Quick ones in the default suite; all in the slow one.
FAMILIES = ('c3d', 'tsm', 'slowfast', 'tanet')
BASELINES = [
    name
    for name in names_of(distinct=True)
    if zoo()[name]['model']['type'] != 'RecognizerOmni'  # is not part of this package
]
QUICK = list({name.split('/')[0]: name for name in names_of(*FAMILIES, distinct=True)}.values())


@pytest.fixture(autouse=True)
def _fake_gpu(monkeypatch):
    monkeypatch.setattr(torch.Tensor, 'numpy', numpy_of_fake)
    # It draws again until all values are within bounds, which no fake tensor ever tells.
    monkeypatch.setattr(nn.init, 'trunc_normal_', nn.init.normal_)
    with FakeGpu():
        yield


def small_backbone(**changes):
    arch = dict(
        embed_dims=[8, 16],
        num_heads=[2, 2],
        depths=[2, 2],
        mlp_ratios=[2, 2],
        local_sizes=[(2, 4, 4), (2, 2, 2)],
        fine_pysizes=[(2, 4, 4), (2, 2, 2)],
        coarse_pysizes=[(2, 1, 1), None],
    )
    return dict(type='DualFormer', arch=arch, video_size=(8, 32, 32), **changes)


def on_cpu(backbone=None, channels=16, blending=None, kind='Recognizer3D', **changes):
    config = dict(
        type=kind,
        backbone=backbone or small_backbone(drop_path_rate=0.1),
        cls_head=dict(
            type='I3DHead_TL' if kind.endswith('_TL') else 'I3DHead',
            num_classes=CLASSES,
            in_channels=channels,
        ),
        data_preprocessor=dict(
            type='ActionDataPreprocessor',
            mean=[120.0] * 3,
            std=[60.0] * 3,
            format_shape='NCTHW',
            blending=blending,
        ),
        test_cfg=dict(average_clips='prob'),
        **changes,
    )
    return MODELS.build(config)


def recognizer(**changes):
    return to_fake_gpu(on_cpu(**changes))


def batch(clip=(8, 30, 41), views=1):
    """As a dataloader gives it, on the CPU."""
    clips = [torch.zeros(views, 3, *clip, dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=clips, data_samples=[ActionDataSample().set_gt_label(i) for i in (3, 1)])


def run(model, data, training=True):
    model.train(training)
    data = model.data_preprocessor(data, training)
    return model(**data, mode='loss' if training else 'predict')


def check_losses(losses):
    assert losses
    for name, value in losses.items():
        assert value.device.type == 'cuda', name


def check_samples(samples):
    for sample in samples:
        assert sample.pred_score.device.type == 'cuda'
        assert sample.pred_score.shape == (CLASSES,)


# ------------------------------------------------------------ the checks themselves


class Faulty(nn.Module):
    """A backbone with one of the faults that the tests are there for."""

    def __init__(self, fault):
        super().__init__()
        self.net = nn.Conv3d(3, 16, 2, stride=2)
        self.fault = fault
        self.table = torch.ones(16, 1, 1, 1)  # no buffer, so it stays on the CPU

    def forward(self, x):
        x = self.net(x)
        if self.fault == 'device':
            return x * self.table
        if self.fault == 'index':
            return x * torch.arange(16)[:, None, None, None]
        if self.fault == 'item':
            return x * x.amax().item()
        if self.fault == 'copy':
            return x * float(x.amax().cpu().numpy())
        if self.fault == 'if':
            return x if x.sum() > 0 else -x
        if self.fault == 'list':
            return x[:, x[0, :, 0, 0, 0].argsort().tolist()]
        if self.fault == 'where':
            return x[x > 0]
        return x


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('fault', ['device', 'index', 'item', 'copy', 'if', 'list', 'where'])
def test_faults_are_found(fault, training):
    model = recognizer()
    model.backbone = to_fake_gpu(Faulty(fault))
    words = 'device' if fault in ('device', 'index') else None
    with pytest.raises(Exception, match=words) as error:
        run(model, batch(), training)
    waits = fault in ('item', 'copy', 'if', 'list')
    assert isinstance(error.value, DataDependentOutputException) is waits


def test_faultless_network_passes():
    model = recognizer()
    model.backbone = to_fake_gpu(Faulty(None))
    check_losses(run(model, batch()))


# ------------------------------------------------------------ DualFormer


@pytest.mark.parametrize(
    ('arch', 'training'),
    [
        ('tiny', True),
        pytest.param('small', True, marks=pytest.mark.slow),
        pytest.param('base', False, marks=pytest.mark.slow),
    ],
)
def test_dualformer(arch, training):
    model = to_fake_gpu(MODELS.build(dict(type='DualFormer', arch=arch, drop_path_rate=0.1)))
    model.train(training)
    for shape, grid in (((2, 3, 32, 224, 224), (16, 7, 7)), ((1, 3, 9, 100, 120), (5, 4, 4))):
        output = model(torch.zeros(shape, device='cuda'))
        channels = {'tiny': 512, 'small': 768, 'base': 1024}[arch]
        assert output.device.type == 'cuda'
        assert output.shape == (shape[0], channels, *grid)


@pytest.mark.parametrize('use_checkpoint', ['selective', True])
def test_dualformer_with_checkpointing(use_checkpoint):
    model = recognizer(backbone=small_backbone(use_checkpoint=use_checkpoint))
    check_losses(run(model, batch()))


@pytest.fixture
def bf16_autocast():
    """`torch.autocast` itself turns off where there is no GPU."""
    before = torch.is_autocast_enabled('cuda'), torch.get_autocast_dtype('cuda')
    torch.set_autocast_enabled('cuda', True)
    torch.set_autocast_dtype('cuda', torch.bfloat16)
    yield
    torch.set_autocast_enabled('cuda', before[0])
    torch.set_autocast_dtype('cuda', before[1])


@pytest.mark.parametrize('bf16', [False, True])
def test_residual_stream_under_autocast(bf16, bf16_autocast):
    model = to_fake_gpu(MODELS.build(small_backbone(bf16_residual=bf16))).train()
    seen = {}
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _, inputs, output, name=name: seen.update(
                {name: (inputs[0].dtype, output.dtype)}
            )
        )
    output = model(torch.zeros(2, 3, 8, 32, 32, device='cuda'))
    stream = torch.bfloat16 if bf16 else torch.float32
    for i in range(2):
        for j in range(2):
            assert seen[f'blocks.{i}.{j}'] == (stream, stream)
            assert seen[f'blocks.{i}.{j}.norm1'] == (stream, torch.float32)
            assert seen[f'blocks.{i}.{j}.mlp.fc1'][1] == torch.bfloat16
        assert seen[f'pos_block.{i}'] == (stream, stream)
    assert output.dtype == torch.float32


# ------------------------------------------------------------ recognizers, heads, blending

MAP = (2, 16, 4, 3, 3)
FEATURES = {
    'I3DHead': MAP,
    'I3DHead_Teacher': MAP,
    'I3DHead_TL': MAP,
    'AttentiveHead': MAP,
    'KNNHead': MAP,
    'LinearHead': MAP,
    'MViTHead': None,
    'SlowFastHead': None,
    'TimeSformerHead': (2, 16),
    'TPNHead': MAP,
    'TRNHead': (16, 16, 3, 3),
    'TSMHead': (16, 16, 3, 3),
    'TSNHead': (16, 16, 3, 3),
    'UniFormerHead': (2, 16),
    'X3DHead': MAP,
}
NOT_HEADS = {'AvgConsensus', 'BaseHead', 'FeatureHead'}  # the last only pools


def test_every_head_is_checked():
    assert set(heads.__all__) == set(FEATURES) | NOT_HEADS


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('name', FEATURES)
def test_head(name, training):
    config = dict(type=name, num_classes=CLASSES, in_channels=16, average_clips='prob')
    config |= dict(num_segments=8) if name in ('TSMHead', 'TRNHead') else {}
    config |= dict(bank_size=5) if name == 'KNNHead' else {}
    head = to_fake_gpu(MODELS.build(config)).train(training)
    if name == 'MViTHead':
        features = ([torch.zeros(MAP, device='cuda'), torch.zeros(2, 16, device='cuda')],)
    elif name == 'SlowFastHead':
        features = tuple(torch.zeros(2, 8, n, 3, 3, device='cuda') for n in (4, 16))
    else:
        features = torch.zeros(FEATURES[name], device='cuda')
    samples = [ActionDataSample().set_gt_label(i).to('cuda') for i in (3, 1)]
    more = dict(num_segs=8) if name in ('TSMHead', 'TRNHead', 'TSNHead') else {}
    assert head(features, **more).device.type == 'cuda'
    if name == 'I3DHead_Teacher':
        return
    if name == 'I3DHead_TL':
        teacher = torch.zeros(2, 8, 3, 3, CLASSES, device='cuda')
        check_losses(head.loss(features, samples, teacher_preds=teacher))
    else:
        check_losses(head.loss(features, samples, **more))
    if not training:
        check_samples(head.predict(features, samples, **more))


def test_recognizer():
    model = recognizer()
    check_losses(run(model, batch()))
    check_samples(run(model, batch(views=3), training=False))


def test_token_label_teacher():
    teacher = dict(
        type='Recognizer3D',
        backbone=small_backbone(),
        cls_head=dict(type='I3DHead', num_classes=CLASSES, in_channels=16),
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, format_shape='NCTHW'
        ),
    )
    model = on_cpu(kind='Recognizer3D_TL', teacher=teacher)
    model.load_teacher()
    to_fake_gpu(model)
    to_fake_gpu(model.teacher)
    losses = run(model, batch())
    check_losses(losses)
    assert 'token_acc' in losses


@pytest.mark.parametrize('name', ['MixupBlending', 'CutmixBlending', 'RandomBatchAugment'])
def test_blending(name):
    blending = dict(type=name, num_classes=CLASSES)
    if name == 'RandomBatchAugment':
        kinds = ('MixupBlending', 'CutmixBlending')
        blending = dict(
            type=name, augments=[dict(type=kind, num_classes=CLASSES) for kind in kinds]
        )
    model = recognizer(blending=blending)
    data = model.data_preprocessor(batch(), True)
    assert data['inputs'].device.type == 'cuda'
    assert data['inputs'].dtype == torch.float32
    assert all(sample.gt_label.device.type == 'cuda' for sample in data['data_samples'])
    check_losses(run(model, batch()))


@pytest.mark.parametrize('method', ['grad-cam', 'grad-cam++', 'hires-cam'])
def test_grad_cam(method, monkeypatch):
    # There is no backward pass on a GPU that is not there.
    monkeypatch.setattr(torch.autograd, 'grad', lambda score, x: [torch.zeros_like(x)])
    frames, logits = GradCAM(recognizer().eval(), method=method)(batch())
    assert frames.shape == (2, 8, 30, 41, 3)
    assert frames.device.type == logits.device.type == 'cuda'


@pytest.mark.parametrize('query', [None, (1, 2, 3)])
@pytest.mark.parametrize('block', [0, 1])
def test_attention_maps(block, query):
    saliency, logits, _ = attention_saliency(
        recognizer().eval(), batch(), f'backbone/blocks/0/{block}', query
    )
    assert saliency.device.type == logits.device.type == 'cuda'


# ------------------------------------------------------------ baselines


def clip_shape(name):
    """As recorded; of networks that are too large to have scores recorded, as they are tested."""
    entry = zoo()[name]
    if 'input_shape' in entry:
        return entry['input_shape']
    config = configs()[name]
    if 'test_dataloader' not in config:  # says only what its backbone takes
        backbone = entry['model']['backbone']
        size = backbone['input_resolution']
        return (1, 1, 3, backbone['t_size'], size, size)
    steps = config['test_dataloader']['dataset']['pipeline']
    sampling = next(step for step in steps if 'Sample' in step['type'])
    size = next(step['crop_size'] for step in steps if 'crop_size' in step)
    if entry['model']['type'] == 'Recognizer2D':
        return (1, sampling['num_clips'], 3, size, size)
    return (1, 1, 3, sampling['clip_len'], size, size)


def check_baseline(name):
    model = to_fake_gpu(build_zoo(name))
    clip = torch.zeros(clip_shape(name), device='cuda')
    samples = [ActionDataSample().set_gt_label(1).to('cuda')]
    score = model.eval()(clip, samples, mode='predict')[0].pred_score
    assert score.device.type == 'cuda'
    # BatchNorm after global pooling needs two clips in training.
    views = clip[:, :1] if zoo()[name]['model']['type'] == 'Recognizer3D' else clip
    samples = [ActionDataSample().set_gt_label(i).to('cuda') for i in (1, 2)]
    check_losses(model.train()(torch.cat([views] * 2), samples, mode='loss'))


@pytest.mark.parametrize('name', QUICK)
def test_baseline(name):
    check_baseline(name)


@pytest.mark.slow
@pytest.mark.parametrize('name', BASELINES)
def test_every_baseline(name):
    check_baseline(name)


@pytest.mark.slow
@pytest.mark.parametrize('name', recorded())
def test_every_transformer(name):
    check_transformer(name)


def check_transformer(name):
    case = recorded()[name]
    model = to_fake_gpu(MODELS.build(copy.deepcopy(case['backbone'])))
    clip = torch.zeros(case['input_shape'], device='cuda')
    for training in (False, True):
        output = model.train(training)(clip)
        while not isinstance(output, torch.Tensor):
            output = output[0]
        assert output.device.type == 'cuda'


@pytest.mark.parametrize('name', ['torchvision.r3d_18', 'timm.resnet18'])
def test_external_network(name):
    kind = name.partition('.')[0]
    model = to_fake_gpu(MODELS.build(dict(type=name)))
    shape = (2, 3, 64, 64) if kind == 'timm' else (2, 3, 8, 64, 64)
    output = model(torch.zeros(shape, device='cuda'))
    while not isinstance(output, torch.Tensor):
        output = output[-1]
    assert output.device.type == 'cuda'
