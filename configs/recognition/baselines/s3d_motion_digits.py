# S3D of torchvision, by the recipe of DualFormer pico.
_base_ = '../dualformer/dualformer_pico_motion_digits.py'

model = dict(
    backbone=dict(_delete_=True, type='torchvision.s3d'),
    cls_head=dict(_delete_=True, type='I3DHead', in_channels=1024, num_classes=8),
)
