# The pico student with a label of each token from the model that tools/quickstart.sh trains.
_base_ = 'dualformer_pico_student_motion_digits.py'

model = dict(
    type='Recognizer3D_TL',
    cls_head=dict(
        type='I3DHead_TL',
        loss_cls=dict(type='SoftCE_TL', k=5, gamma=0.5),
    ),
    teacher=dict(
        config='configs/recognition/dualformer/dualformer_pico_motion_digits.py',
        checkpoint='work_dirs/quickstart/epoch_30.pth',
    ),
)
