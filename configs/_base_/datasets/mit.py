# Moments in Time V2: clips of 3 seconds, read as those of Kinetics-400 are.
_base_ = 'kinetics400.py'

data_root = '{{$DATA_ROOT:data/mit}}'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
