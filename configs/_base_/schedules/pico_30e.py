# 30 epochs of AdamW for the pico networks: linear warm-up of 3 epochs, then cosine to 0, by step.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=7e-4, weight_decay=0.05),
    clip_grad=dict(max_norm=5),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=3, convert_to_iter_based=True),
    # Without T_max and end it ends with train_cfg.max_epochs.
    dict(type='CosineAnnealingLR', eta_min=0, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_begin=1, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
