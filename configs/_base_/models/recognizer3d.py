# A recognizer of clips, normalized by the statistics of ImageNet.
model = dict(
    type='Recognizer3D',
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        format_shape='NCTHW',
    ),
)
