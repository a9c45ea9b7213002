# ResNet-18 of timm with ImageNet weights on 8 frames of your own clips (TSN): for CPUs. It sees
# single frames: for classes that differ by their motion take another model.
_base_ = 'pico_finetune.py'

# Those of the library, which finetune starts from: --cfg-options model.backbone.pretrained=True
imagenet_weights = True

model = dict(
    type='Recognizer2D',
    backbone=dict(_delete_=True, type='timm.resnet18'),
    cls_head=dict(_delete_=True, type='TSNHead', in_channels=512, num_classes=2),
    test_cfg=dict(_delete_=True, average_clips='prob'),
)
