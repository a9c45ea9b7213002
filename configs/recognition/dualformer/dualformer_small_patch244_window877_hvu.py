# Fine-tuned on HVU: the labels of six categories at once. By the recipe of Diving48; no figures are
# published.
_base_ = [
    '../../_base_/models/dualformer/dualformer_small.py',
    '../../_base_/datasets/hvu.py',
    '../../_base_/schedules/finetune_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    cls_head=dict(
        num_classes=3142,
        multi_class=True,
        # Categories that nobody has labeled in a clip say nothing.
        loss_cls=dict(type='HVULoss', loss_type='individual', with_mask=True),
    )
)
load_from = 'checkpoints/k400/dualformer_small_patch244_window877.pth'
