# Fine-tuned on Diving48 V2, as frames.
_base_ = [
    '../../_base_/models/dualformer/dualformer_small.py',
    '../../_base_/datasets/diving48.py',
    '../../_base_/schedules/finetune_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    cls_head=dict(num_classes=48),
    data_preprocessor=dict(mean=[104, 117, 128], std=[1, 1, 1]),
)
load_from = 'checkpoints/k400/dualformer_small_patch244_window877.pth'
