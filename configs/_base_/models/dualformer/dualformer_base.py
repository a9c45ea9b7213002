_base_ = 'dualformer_tiny.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.3),
    cls_head=dict(in_channels=1024),
)
