# Fine-tuned on Moments in Time V2, by the recipe of Diving48; no figures are published.
_base_ = [
    '../../_base_/models/dualformer/dualformer_small.py',
    '../../_base_/datasets/mit.py',
    '../../_base_/schedules/finetune_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(cls_head=dict(num_classes=305))
load_from = 'checkpoints/k400/dualformer_small_patch244_window877.pth'
