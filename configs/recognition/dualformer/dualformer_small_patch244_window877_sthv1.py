# Fine-tuned on Something-Something V1, as frames. By the recipe of Diving48; no figures are
# published.
_base_ = [
    '../../_base_/models/dualformer/dualformer_small.py',
    '../../_base_/datasets/sthv1.py',
    '../../_base_/schedules/finetune_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    cls_head=dict(num_classes=174),
    data_preprocessor=dict(mean=[104, 117, 128], std=[1, 1, 1]),
)
load_from = 'checkpoints/k400/dualformer_small_patch244_window877.pth'
