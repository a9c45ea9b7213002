# Multi-Moments in Time V2: clips of 3 seconds with several labels each.
_base_ = 'kinetics400.py'

data_root = '{{$DATA_ROOT:data/mmit}}'
num_classes = 292

several = dict(data_root=data_root, multi_class=True, num_classes=num_classes)
train_dataloader = dict(dataset=several)
val_dataloader = dict(dataset=several)
test_dataloader = dict(dataset=several)

val_evaluator = dict(metric_list=('mean_average_precision', 'mmit_mean_average_precision'))
test_evaluator = val_evaluator
