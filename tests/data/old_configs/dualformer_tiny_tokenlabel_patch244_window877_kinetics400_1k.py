_base_ = 'dualformer_tiny_patch244_window877_kinetics400_1k.py'

model = dict(
    type='Recognizer3D_TL',
    cls_head=dict(type='I3DHead_TL', loss_cls=dict(type='SoftCE_TL', k=5, gamma=0.5)),
)
optimizer_config = dict(update_interval=2)
work_dir = './work_dirs/k400_dualformer_tiny_tokenlabel'
