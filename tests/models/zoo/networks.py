"""One small recognizer of each family of mmaction2's, for what works for all of them."""

import copy

import torch
from torch import nn

from mmaction.apis import init_recognizer

IMAGE = dict(depth=18, num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))
VIDEO = dict(depth=50, base_channels=8, stage_blocks=(1, 1, 1, 1), norm_eval=False)
SLOWONLY = dict(VIDEO, type='ResNet3dSlowOnly', lateral=False)
FACTORIZED = dict(type='ResNet2Plus1d', depth=18, base_channels=8, pretrained2d=False)
PATHWAY = dict(VIDEO, type='resnet3d', pretrained=None)
PYRAMID = dict(
    type='TPN',
    in_channels=(128, 256),
    out_channels=64,
    spatial_modulation_cfg=dict(in_channels=(128, 256), out_channels=256),
    temporal_modulation_cfg=dict(downsample_scales=(4, 4)),
    upsample_cfg=dict(scale_factor=(1, 1, 1)),
    downsample_cfg=dict(downsample_scale=(1, 1, 1)),
    level_fusion_cfg=dict(in_channels=(64, 64), mid_channels=(64, 64), out_channels=128),
    aux_head_cfg=dict(out_channels=5),
)
CLIP_VIT = dict(type='UniFormerV2', input_resolution=64, width=24, layers=3, heads=2, t_size=4)
DECODER = dict(return_list=[1, 2], n_layers=2, n_dim=24, n_head=2, mlp_dropout=[0.0] * 2)

# family: backbone, head and channels that it takes
FAMILIES = {
    'tsn': (dict(IMAGE, type='ResNet'), 'TSNHead', 64),
    'tsm': (dict(IMAGE, type='ResNetTSM', num_segments=4), 'TSMHead', 64),
    'tsm_mobilenet': (dict(type='MobileNetV2TSM', num_segments=4), 'TSMHead', 1280),
    'tanet': (dict(IMAGE, type='TANet', depth=50, num_segments=4), 'TSMHead', 256),
    'tin': (dict(IMAGE, type='ResNetTIN', num_segments=4, shift_div=4), 'TSMHead', 64),
    'trn': (dict(IMAGE, type='ResNet'), 'TRNHead', 64),
    'c2d': (dict(IMAGE, type='C2D'), 'I3DHead', 64),
    'i3d': (dict(VIDEO, type='ResNet3d', with_pool2=False), 'I3DHead', 256),
    'slowonly': (SLOWONLY, 'I3DHead', 256),
    'tpn': (dict(SLOWONLY, out_indices=(2, 3)), 'TPNHead', 2048),
    'csn': (dict(VIDEO, type='ResNet3dCSN', temporal_strides=(1, 1, 1, 1)), 'I3DHead', 256),
    'r2plus1d': (dict(FACTORIZED, conv_cfg=dict(type='Conv2plus1d')), 'I3DHead', 64),
    'slowfast': (
        dict(
            type='ResNet3dSlowFast',
            resample_rate=2,
            speed_ratio=2,
            channel_ratio=4,
            slow_pathway=dict(PATHWAY, lateral=True, conv1_kernel=(1, 7, 7), fusion_kernel=7),
            fast_pathway=dict(PATHWAY, lateral=False, base_channels=2, conv1_kernel=(5, 7, 7)),
        ),
        'SlowFastHead',
        320,
    ),
    'x3d': (dict(type='X3D', gamma_w=1, gamma_b=2.25, gamma_d=0.4), 'X3DHead', 432),
    'c3d': (dict(type='C3D', out_dim=4608), 'I3DHead', 4096),
    'swin': (
        dict(
            type='SwinTransformer3D',
            arch=dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8]),
        ),
        'I3DHead',
        64,
    ),
    'videomae': (
        dict(
            type='VisionTransformer', img_size=64, embed_dims=24, depth=2, num_heads=2, num_frames=4
        ),
        'TimeSformerHead',
        24,
    ),
    'timesformer': (
        dict(
            type='TimeSformer',
            num_frames=4,
            img_size=64,
            patch_size=16,
            embed_dims=24,
            num_heads=2,
            num_transformer_layers=2,
        ),
        'TimeSformerHead',
        24,
    ),
    'mvit': (
        dict(
            type='MViT',
            arch=dict(embed_dims=8, num_layers=3, num_heads=1, downscale_indices=[1]),
            spatial_size=64,
            temporal_size=4,
            adaptive_kv_stride=(1, 2, 2),
        ),
        'MViTHead',
        16,
    ),
    'uniformer': (
        dict(type='UniFormer', depth=[1, 1, 1, 1], embed_dim=[8, 16, 24, 32], head_dim=8),
        'I3DHead',
        32,
    ),
    'uniformerv2': (dict(CLIP_VIT, **DECODER, clip_pretrained=False), 'UniFormerHead', 24),
}
BY_FRAME = ('tsn', 'tsm', 'tsm_mobilenet', 'tanet', 'tin', 'trn')
# Of each kind one, for the default suite
FEW = ('tsm', 'slowonly', 'swin', 'videomae')
FRAMES, SIZE, CLASSES = 4, 64, 5


def config(family, with_cp=None):
    """A config with a test pipeline."""
    backbone, kind, channels = copy.deepcopy(FAMILIES[family])
    if with_cp is not None:
        parts = (
            [backbone[f'{name}_pathway'] for name in ('slow', 'fast')]
            if family == 'slowfast'
            else [backbone]
        )
        for part in parts:
            part['with_cp'] = with_cp
    head = dict(type=kind, num_classes=CLASSES, in_channels=channels, average_clips='prob')
    if family in BY_FRAME and kind != 'TSNHead':
        head['num_segments'] = FRAMES
    if kind == 'TRNHead':
        head['relation_type'] = 'TRN'  # the other draws its frames at random
    if family == 'c3d':
        head['spatial_type'] = None
    by_frame = family in BY_FRAME
    sampling = dict(clip_len=1, num_clips=FRAMES) if by_frame else dict(clip_len=FRAMES)
    layout = 'NCHW' if by_frame else 'NCTHW'
    if family == 'c3d':  # which halves its clips five times
        sampling['clip_len'] = 16
    model = dict(
        type='Recognizer2D' if by_frame else 'Recognizer3D',
        backbone=backbone,
        cls_head=head,
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[120] * 3, std=[60] * 3, format_shape=layout
        ),
    )
    if family == 'tpn':
        model['neck'] = PYRAMID
    pipeline = [
        dict(type='DecordInit'),
        dict(type='SampleFrames', frame_interval=2, test_mode=True, **sampling),
        dict(type='DecordDecode'),
        dict(type='Resize', scale=(-1, SIZE)),
        dict(type='ThreeCrop', crop_size=SIZE),
        dict(type='FormatShape', input_format=layout),
        dict(type='PackActionInputs'),
    ]
    return dict(model=model, test_pipeline=pipeline)


def write(folder, family):
    """The config as a file, and a checkpoint of weights by which classes differ."""
    cfg = config(family)
    path = folder / f'{family}.py'
    path.write_text(''.join(f'{key} = {value!r}\n' for key, value in cfg.items()))
    weights = folder / f'{family}.pth'
    torch.save(dict(state_dict=recognizer(path).state_dict(), meta={}), weights)
    return path, weights


def recognizer(path):
    """The recognizer of a config, where no branch starts at zero and classes differ."""
    torch.manual_seed(0)
    model = init_recognizer(str(path), device='cpu')
    for parameter in model.parameters():
        if not parameter.count_nonzero():
            nn.init.normal_(parameter, std=0.1)
    last = [module for module in model.cls_head.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.normal_(last.weight)
    return model
