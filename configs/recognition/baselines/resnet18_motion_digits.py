# ResNet-18 of timm on single frames: what can be told without motion.
_base_ = '../dualformer/dualformer_pico_motion_digits.py'

model = dict(
    type='Recognizer2D',
    backbone=dict(_delete_=True, type='timm.resnet18'),
    cls_head=dict(_delete_=True, type='TSNHead', in_channels=512, num_classes=8),
    test_cfg=dict(_delete_=True, average_clips='prob'),
)
