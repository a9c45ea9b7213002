# DualFormer pico from random weights on your own clips, 8 x 80 x 80: for CPUs.
_base_ = [
    '../../_base_/models/dualformer/dualformer_pico.py',
    '../../_base_/datasets/own_clips.py',
    '../../_base_/schedules/pico_30e.py',
    '../../_base_/default_runtime.py',
]

model = dict(backbone=dict(video_size=(8, 80, 80)), cls_head=dict(num_classes=2))
