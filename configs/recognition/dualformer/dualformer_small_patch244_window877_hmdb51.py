# Fine-tuned on HMDB51, as frames; split 1, or --cfg-options split=2 or split=3.
_base_ = [
    '../../_base_/models/dualformer/dualformer_small.py',
    '../../_base_/datasets/hmdb51.py',
    '../../_base_/schedules/finetune_16e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(drop_path_rate=0.3),
    cls_head=dict(num_classes=51),
    data_preprocessor=dict(mean=[104, 117, 128], std=[1, 1, 1]),
)
# 16 clips per GPU and update, as 4 x 4.
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(accumulative_counts=4)
load_from = 'checkpoints/k400/dualformer_small_patch244_window877.pth'
