# HMDB51 as frames, read as those of Diving48 are: split 1, or --cfg-options split=2 or split=3.
_base_ = 'diving48.py'

data_root = '{{$DATA_ROOT:data/hmdb51}}'
split = 1

trained = dict(data_root=data_root, ann_file='train_split{split}_rawframes.txt', split=split)
tested = dict(data_root=data_root, ann_file='test_split{split}_rawframes.txt', split=split)
train_dataloader = dict(dataset=trained)
val_dataloader = dict(dataset=tested)
test_dataloader = dict(dataset=tested)
