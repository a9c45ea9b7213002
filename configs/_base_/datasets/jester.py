# Jester as frames: 32 frames spread over the whole clip; tested on three crops.
_base_ = 'sthv1.py'

data_root = '{{$DATA_ROOT:data/jester}}'
# Swiping and sliding to the left or right; 14 and 15, turning the hand clockwise or not, mirror
# each other too, though the map of mmaction2 leaves them out. Classes in the order of the file.
mirrored = {0: 1, 1: 0, 6: 7, 7: 6, 14: 15, 15: 14}

flip = dict(type='Flip', flip_ratio=0.5, flip_label_map=mirrored)
train_pipeline = [flip if step['type'] == 'Flip' else step for step in _base_.train_pipeline]

train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
