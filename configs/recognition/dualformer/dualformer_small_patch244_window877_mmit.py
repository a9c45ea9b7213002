# Fine-tuned on Multi-Moments in Time V2, whose clips have several labels each. By the recipe of
# Diving48; no figures are published.
_base_ = [
    '../../_base_/models/dualformer/dualformer_small.py',
    '../../_base_/datasets/mmit.py',
    '../../_base_/schedules/finetune_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    cls_head=dict(
        num_classes=292,
        multi_class=True,
        loss_cls=dict(type='BCELossWithLogits'),
    )
)
load_from = 'checkpoints/k400/dualformer_small_patch244_window877.pth'
