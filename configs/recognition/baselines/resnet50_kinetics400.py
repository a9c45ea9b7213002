# ResNet-50 of timm on single frames (TSN), by the recipe of DualFormer-T.
_base_ = '../dualformer/dualformer_tiny_patch244_window877_kinetics400_1k.py'

model = dict(
    type='Recognizer2D',
    backbone=dict(_delete_=True, type='timm.resnet50'),
    cls_head=dict(_delete_=True, type='TSNHead', in_channels=2048, num_classes=400),
    test_cfg=dict(_delete_=True, average_clips='prob'),
)
