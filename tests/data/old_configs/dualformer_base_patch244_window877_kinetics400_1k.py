_base_ = 'dualformer_tiny_patch244_window877_kinetics400_1k.py'

model = dict(
    backbone=dict(
        embed_dims=[128, 256, 512, 1024],
        num_heads=[4, 8, 16, 32],
        depths=[2, 2, 18, 2],
        drop_path_rate=0.3,
    ),
    cls_head=dict(in_channels=1024),
)
optimizer = dict(weight_decay=0.05)
lr_config = dict(warmup_iters=2.5)
optimizer_config = dict(update_interval=2)
work_dir = './work_dirs/k400_dualformer_base'
