# 30 epochs of AdamW for 8 GPUs x 8 clips: linear warm-up, then cosine by epoch to 0.
optim_wrapper = dict(
    # The release trains in fp16 by apex (O1), PyTorch's autocast with loss scaling is the same.
    # On GPUs that have it bf16 needs no loss scaling: --amp bf16.
    type='AmpOptimWrapper',
    dtype='float16',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.02),
    # A parameter takes the longest key in its name: position generators the full rate
    # without decay, all else of the backbone, its norms too, a tenth of the rate.
    # 'norm' is shorter and never acts; the published recipe holds it, and so does this.
    paramwise_cfg=dict(
        custom_keys={
            'pos_block': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
            'backbone': dict(lr_mult=0.1),
        }
    ),
)
param_scheduler = [
    dict(type='WarmupLR', start_factor=0.1, end=2.5, convert_to_iter_based=True),
    # Without T_max and end it ends with train_cfg.max_epochs.
    dict(type='CosineAnnealingLR', eta_min=0),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_begin=1, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Clips of an update, 8 GPUs x 8: accumulated batches count (--auto-scale-lr).
auto_scale_lr = dict(enable=False, base_batch_size=64)
