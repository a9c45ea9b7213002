_base_ = 'kinetics400.py'

data_root = '{{$DATA_ROOT:data/kinetics700}}'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
