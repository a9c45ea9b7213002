_base_ = 'dualformer_base_patch244_window877_kinetics400_1k.py'

root, lists = 'data/kinetics600', 'data/kinetics600/kinetics600'
model = dict(cls_head=dict(num_classes=600))
data = dict(
    train=dict(ann_file=f'{lists}_train_list_videos.txt', data_prefix=f'{root}/videos_train'),
    val=dict(ann_file=f'{lists}_val_list_videos.txt', data_prefix=f'{root}/videos_val'),
    test=dict(ann_file=f'{lists}_val_list_videos.txt', data_prefix=f'{root}/videos_val'),
)
optimizer = dict(lr=5e-4)
work_dir = './work_dirs/k600_dualformer_base'
