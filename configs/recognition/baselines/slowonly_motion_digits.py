# A narrow SlowOnly from scratch; docs/model_zoo.md says why these rate and first weights.
_base_ = '../dualformer/dualformer_pico_motion_digits.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet3dSlowOnly',
        depth=18,
        base_channels=16,
        lateral=False,
        inflate=(1, 1, 1, 1),
        norm_eval=False,
        zero_init_residual=False,
    ),
    cls_head=dict(_delete_=True, type='I3DHead', in_channels=128, num_classes=8, dropout_ratio=0.0),
)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=6, val_begin=6)
