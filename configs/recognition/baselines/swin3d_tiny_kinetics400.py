# Video Swin-T of torchvision, by the recipe of DualFormer-T.
_base_ = '../dualformer/dualformer_tiny_patch244_window877_kinetics400_1k.py'

model = dict(
    backbone=dict(_delete_=True, type='torchvision.swin3d_t'),
    cls_head=dict(_delete_=True, type='I3DHead', in_channels=768, num_classes=400),
)
