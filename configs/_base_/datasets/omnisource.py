# OmniSource, Mini-Kinetics: clips of 200 classes of Kinetics with images and videos of the web.
_base_ = 'kinetics400.py'

data_root = '{{$DATA_ROOT:data/omnisource}}'
videos = 'videos'

# An image stands still for as many frames as a clip has.
image_pipeline = [
    dict(type='ImageDecode'),
    *_base_.train_pipeline[3:7],
    dict(type='BuildPseudoClip', clip_len=32),
    *_base_.train_pipeline[7:],
]
clips = dict(type='VideoDataset', data_root=data_root, pipeline=_base_.train_pipeline)
train_dataloader = dict(
    # Of five clips two are of Mini-Kinetics, one is an image and one a video of the web, where
    # frequent classes are drawn less often than they occur, and one is a piece of a whole video
    # of Kinetics. An epoch has each clip of Mini-Kinetics once.
    sampler=dict(
        _delete_=True,
        type='JointSampler',
        ratio=[2, 1, 1, 1],
        class_power=[None, 0.5, 0.5, None],
    ),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(ann_file='train.txt', data_prefix=dict(video=videos), **clips),
            dict(
                type='ImageDataset',
                data_root=data_root,
                ann_file='web_image.txt',
                data_prefix=dict(img=videos),
                pipeline=image_pipeline,
            ),
            dict(ann_file='web_video.txt', data_prefix=dict(video=videos), **clips),
            dict(ann_file='kinetics_raw.txt', data_prefix=dict(video=videos), **clips),
        ],
    ),
)
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
