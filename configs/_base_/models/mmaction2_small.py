# A small network of each family of mmaction2's for clips of 8 x 40 x 40 (C3D 16 x 16 x 16):
# FAMILY names it.
_base_ = 'recognizer3d.py'

family = '{{$FAMILY:slowonly}}'

clip_len, size = 8, 40
image = dict(depth=18, num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(1,))
video = dict(depth=18, base_channels=16, norm_eval=False, zero_init_residual=False)
slowonly = dict(video, type='ResNet3dSlowOnly', lateral=False, inflate=(1, 1, 1, 1))
separated = dict(video, type='ResNet3dCSN', temporal_strides=(1, 1, 1, 1))
separated.update(depth=50, stage_blocks=(1, 1, 1, 1))
pathway = dict(video, type='resnet3d', pretrained=None)
slow = dict(pathway, lateral=True, conv1_kernel=(1, 7, 7), fusion_kernel=7)
fast = dict(pathway, lateral=False, conv1_kernel=(5, 7, 7))
fast.update(base_channels=4)
vit = dict(img_size=size, patch_size=8, embed_dims=64, num_heads=4, num_frames=clip_len)
clip_vit = dict(input_resolution=size, patch_size=8, width=64, layers=2, heads=4, t_size=clip_len)
decoder = dict(return_list=[0, 1], n_layers=2, n_dim=64, n_head=4, mlp_dropout=[0.0] * 2)
pyramid = dict(
    type='TPN',
    in_channels=(64, 128),
    out_channels=64,
    spatial_modulation_cfg=dict(in_channels=(64, 128), out_channels=128),
    temporal_modulation_cfg=dict(downsample_scales=(4, 4)),
    upsample_cfg=dict(scale_factor=(1, 1, 1)),
    downsample_cfg=dict(downsample_scale=(1, 1, 1)),
    level_fusion_cfg=dict(in_channels=(64, 64), mid_channels=(64, 64), out_channels=128),
    aux_head_cfg=dict(out_channels=8),
)

# family: backbone, head, channels that the head takes
cnns = dict(
    tsn=(dict(image, type='ResNet'), 'TSNHead', 128),
    tsm=(dict(image, type='ResNetTSM', num_segments=clip_len, shift_div=4), 'TSMHead', 128),
    tanet=(dict(image, type='TANet', depth=50, num_segments=clip_len), 'TSMHead', 512),
    tin=(dict(image, type='ResNetTIN', num_segments=clip_len, shift_div=4), 'TSMHead', 128),
    trn=(dict(image, type='ResNet'), 'TRNHead', 128),
    c2d=(dict(image, type='C2D'), 'I3DHead', 128),
    i3d=(dict(video, type='ResNet3d', with_pool2=False), 'I3DHead', 128),
    slowonly=(slowonly, 'I3DHead', 128),
    slowfast=(
        dict(
            type='ResNet3dSlowFast',
            resample_rate=2,
            speed_ratio=2,
            channel_ratio=4,
            slow_pathway=slow,
            fast_pathway=fast,
        ),
        'SlowFastHead',
        160,
    ),
    tpn=(dict(slowonly, out_indices=(2, 3)), 'TPNHead', 2048),
    csn=(separated, 'I3DHead', 512),
    r2plus1d=(
        dict(video, type='ResNet2Plus1d', pretrained2d=False, conv_cfg=dict(type='Conv2plus1d')),
        'I3DHead',
        128,
    ),
    x3d=(dict(type='X3D', gamma_w=0.5, gamma_b=2.25, gamma_d=0.4), 'X3DHead', 288),
    c3d=(dict(type='C3D', norm_cfg=dict(type='BN3d'), out_dim=512), 'I3DHead', 4096),
)
transformers = dict(
    swin=(
        dict(
            type='SwinTransformer3D',
            arch=dict(embed_dims=24, depths=[2, 2], num_heads=[2, 4]),
            window_size=(4, 5, 5),
            out_indices=(1,),
        ),
        'I3DHead',
        48,
    ),
    videomae=(dict(vit, type='VisionTransformer', depth=4), 'TimeSformerHead', 64),
    timesformer=(dict(vit, type='TimeSformer', num_transformer_layers=2), 'TimeSformerHead', 64),
    mvit=(
        dict(
            type='MViT',
            arch=dict(embed_dims=32, num_layers=4, num_heads=1, downscale_indices=[2]),
            spatial_size=size,
            temporal_size=clip_len,
            adaptive_kv_stride=(1, 1, 1),
            patch_cfg=dict(kernel_size=(3, 7, 7), stride=(2, 8, 8), padding=(1, 3, 3)),
        ),
        'MViTHead',
        64,
    ),
    uniformer=(
        dict(type='UniFormer', depth=[1, 1, 1, 1], embed_dim=[16, 32, 64, 64], head_dim=16),
        'I3DHead',
        64,
    ),
    uniformerv2=(
        dict(clip_vit, **decoder, type='UniFormerV2', clip_pretrained=False),
        'UniFormerHead',
        64,
    ),
)

if family not in cnns | transformers:
    raise ValueError(f'FAMILY={family} is none of {", ".join(cnns | transformers)}')
backbone, head, channels = (cnns | transformers)[family]
by_frame = family in ('tsn', 'tsm', 'tanet', 'tin', 'trn')
model = dict(
    type='Recognizer2D' if by_frame else 'Recognizer3D',
    backbone=backbone,
    cls_head=dict(type=head, num_classes=8, in_channels=channels, dropout_ratio=0),
    test_cfg=dict(average_clips='prob'),
)
if family == 'tpn':
    model['neck'] = pyramid
elif family == 'c3d':
    model['cls_head']['spatial_type'] = None

# What the steps of the pipelines say otherwise: C3D halves its clips five times.
steps = {}
if family == 'c3d':
    steps = dict(
        SampleFrames=dict(clip_len=16, frame_interval=1),
        Resize=dict(scale=(20, 20)),
        RandomCrop=dict(size=16),
        CenterCrop=dict(crop_size=16),
    )

# Networks of frames learn nothing here in 8 epochs at 3e-3, and C3D nothing in 3 at 1e-3, which is
# much beside the first weights of its linear layers (0.005); nor TANet in 8. The epochs are as few
# as show on one core what a family learns.
lr = 1e-3 if by_frame or family in ('c2d', *transformers) else 3e-3
lr = 1e-4 if family in ('c3d', 'tanet') else lr
epochs = dict(tsn=4, c2d=4, c3d=6, tsm=6, tin=6, uniformerv2=12)
epochs = epochs.get(family, 8 if family in cnns else 20)
