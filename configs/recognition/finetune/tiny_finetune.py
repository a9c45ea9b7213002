# DualFormer Tiny on your own clips, from Kinetics-400 weights: for one GPU.
_base_ = '../dualformer/dualformer_tiny_patch244_window877_kinetics400_1k.py'

data_root = 'data/my_clips'
data = dict(data_root=data_root, data_prefix=dict(video=''))
train_dataloader = dict(dataset=dict(ann_file='train.txt', **data))
val_dataloader = dict(dataset=dict(ann_file='val.txt', **data))
test_dataloader = dict(dataset=dict(ann_file='test.txt', **data))

model = dict(cls_head=dict(num_classes=2))
load_from = 'checkpoints/k400/dualformer_tiny_patch244_window877.pth'
