# Half as wide as dualformer_pico: what the token labels of the next config are compared with.
_base_ = 'dualformer_pico_motion_digits.py'

model = dict(
    backbone=dict(arch=dict(embed_dims=(16, 32), num_heads=(2, 2))),
    cls_head=dict(in_channels=32),
)
