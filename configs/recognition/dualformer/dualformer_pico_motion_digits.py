# A DualFormer small enough to train on two CPU cores in a few minutes: tools/quickstart.sh.
_base_ = [
    '../../_base_/models/dualformer/dualformer_tiny.py',
    '../../_base_/datasets/motion_digits.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=(32, 64),
            num_heads=(2, 4),
            depths=(2, 2),
            mlp_ratios=(4, 4),
            local_sizes=((4, 5, 5), (4, 5, 5)),
            fine_pysizes=((2, 5, 5), (2, 5, 5)),
            coarse_pysizes=((2, 2, 2), None),
        ),
        video_size=(8, 40, 40),
        drop_path_rate=0.0,
        # So narrow a network needs larger first weights than the published 0.02.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    cls_head=dict(in_channels=64, num_classes=8, dropout_ratio=0.0),
)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=7e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=5),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=30, eta_min=0, end=30, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_begin=1, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
