# What all datasets of clips share: crops, loaders and metrics. A dataset says where its clips are,
# how they are decoded and which frames are taken.
pack = [dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]
train_crops = [
    dict(type='Resize', scale=(-1, 256)),
    dict(type='RandomResizedCrop'),
    dict(type='Resize', scale=(224, 224), keep_ratio=False),
    dict(type='Flip', flip_ratio=0.5),
    *pack,
]
val_crops = [
    dict(type='Resize', scale=(-1, 256)),
    dict(type='CenterCrop', crop_size=224),
    *pack,
]
test_crops = [
    dict(type='Resize', scale=(-1, 224)),
    dict(type='CenterCrop', crop_size=224),
    *pack,
]

# Workers and the batches of evaluation are those of one 8-GPU node today, not the published ones
# (4 workers; 1 worker and 1 clip): results do not depend on them.
train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=False),
    dataset=dict(test_mode=True),
)
test_dataloader = dict(
    batch_size=2,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='EpochSampler', shuffle=False),
    dataset=dict(test_mode=True),
)

val_evaluator = dict(type='AccMetric')
test_evaluator = val_evaluator
