_base_ = 'dualformer_small_patch244_window877_diving48.py'

model = dict(backbone=dict(drop_path_rate=0.3), cls_head=dict(num_classes=51))
root = 'data/hmdb51'
prefix = f'{root}/rawframes'
data = dict(
    train=dict(ann_file=f'{root}/hmdb51_train_split_1_rawframes.txt', data_prefix=prefix),
    val=dict(ann_file=f'{root}/hmdb51_val_split_1_rawframes.txt', data_prefix=prefix),
    test=dict(ann_file=f'{root}/hmdb51_val_split_1_rawframes.txt', data_prefix=prefix),
)
optimizer = dict(weight_decay=0.1)
optimizer_config = dict(update_interval=4)
total_epochs = 16
work_dir = './work_dirs/hmdb51_dualformer_small'
