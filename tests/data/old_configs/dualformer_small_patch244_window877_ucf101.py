_base_ = 'dualformer_small_patch244_window877_diving48.py'

model = dict(backbone=dict(drop_path_rate=0.3), cls_head=dict(num_classes=101))
root = 'data/ucf101'
prefix = f'{root}/rawframes'
data = dict(
    train=dict(ann_file=f'{root}/ucf101_train_split_1_rawframes.txt', data_prefix=prefix),
    val=dict(ann_file=f'{root}/ucf101_val_split_1_rawframes.txt', data_prefix=prefix),
    test=dict(ann_file=f'{root}/ucf101_val_split_1_rawframes.txt', data_prefix=prefix),
)
optimizer = dict(weight_decay=0.05)
optimizer_config = dict(update_interval=4)
total_epochs = 16
work_dir = './work_dirs/ucf101_dualformer_small'
