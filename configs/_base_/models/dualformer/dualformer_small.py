_base_ = 'dualformer_tiny.py'

model = dict(
    backbone=dict(arch='small', drop_path_rate=0.2),
    cls_head=dict(in_channels=768),
)
