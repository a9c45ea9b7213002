# With a label of each token from DualFormer-B, trained on Kinetics-400 (checkpoints/README.md).
_base_ = 'dualformer_tiny_patch244_window877_kinetics400_1k.py'

model = dict(
    type='Recognizer3D_TL',
    cls_head=dict(
        type='I3DHead_TL',
        loss_cls=dict(type='SoftCE_TL', k=5, gamma=0.5),
    ),
    teacher=dict(
        config='configs/recognition/dualformer/'
        'dualformer_base_patch244_window877_kinetics400_1k.py',
        checkpoint='checkpoints/k400/dualformer_base_patch244_window877.pth',
    ),
)

# 16 clips per GPU and update, as 2 x 8.
optim_wrapper = dict(accumulative_counts=2)
auto_scale_lr = dict(base_batch_size=128)
