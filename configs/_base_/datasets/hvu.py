# HVU: clips of 2 or 10 seconds with labels of six categories.
_base_ = 'kinetics400.py'

data_root = '{{$DATA_ROOT:data/hvu}}'

# Which categories are labeled in a clip goes with it.
train_pipeline, val_pipeline, test_pipeline = (
    [*steps[:-1], dict(type='PackActionInputs', algorithm_keys=('category_mask',))]
    for steps in (_base_.train_pipeline, _base_.val_pipeline, _base_.test_pipeline)
)
tagged = dict(type='HVUDataset', data_root=data_root)
tested = dict(ann_file='val.json', **tagged)
train_dataloader = dict(dataset=dict(ann_file='train.json', pipeline=train_pipeline, **tagged))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline, **tested))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline, **tested))

val_evaluator = dict(_delete_=True, type='HVUMetric')
test_evaluator = val_evaluator
