# SlowFast with ResNet-50 on Kinetics-400, from mmaction2's published checkpoint.
# Its published accuracy is in ../metafile.yml.
_base_ = [
    '../../_base_/mmaction2_zoo.py',
    '../../_base_/datasets/kinetics400.py',
    '../../_base_/models/recognizer3d.py',
]

pathway = dict(
    type='resnet3d',
    depth=50,
    pretrained=None,
    conv1_stride_t=1,
    pool1_stride_t=1,
    norm_eval=False,
)
slow = dict(lateral=True, conv1_kernel=(1, 7, 7), dilations=(1, 1, 1, 1), inflate=(0, 0, 1, 1))
model = dict(
    backbone=dict(
        type='ResNet3dSlowFast',
        resample_rate=4,
        speed_ratio=4,
        channel_ratio=8,
        slow_pathway=dict(**pathway, **slow, fusion_kernel=7),
        fast_pathway=dict(**pathway, lateral=False, base_channels=8, conv1_kernel=(5, 7, 7)),
    ),
    cls_head=dict(
        type='SlowFastHead',
        in_channels=2304,
        num_classes=400,
        spatial_type='avg',
        dropout_ratio=0.5,
        average_clips='prob',
    ),
)

name = 'slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb'
load_from = f'{_base_.zoo}/slowfast/{name}/{name}_20220818-1cb6dfc8.pth'
