_base_ = 'dualformer_tiny_patch244_window877_kinetics400_1k.py'

model = dict(
    backbone=dict(
        embed_dims=[96, 192, 384, 768],
        num_heads=[3, 6, 12, 24],
        depths=[2, 2, 18, 2],
        drop_path_rate=0.2,
    ),
    cls_head=dict(in_channels=768),
)
lr_config = dict(warmup_iters=2.5)
optimizer_config = dict(update_interval=2)
work_dir = './work_dirs/k400_dualformer_small'
