# S3D of torchvision with Kinetics-400 weights on your own clips: a small network that sees motion.
_base_ = 'pico_finetune.py'

# Those of the library, which finetune starts from: --cfg-options model.backbone.pretrained=True
imagenet_weights = True

model = dict(
    backbone=dict(_delete_=True, type='torchvision.s3d'),
    cls_head=dict(_delete_=True, type='I3DHead', in_channels=1024, num_classes=2),
)
