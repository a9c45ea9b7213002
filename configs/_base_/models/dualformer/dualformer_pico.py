# A DualFormer of two narrow stages for small clips (8 x 40 x 40).
_base_ = 'dualformer_tiny.py'

# Compiling takes longer than such a network trains.
compile = False

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=(32, 64),
            num_heads=(2, 4),
            depths=(2, 2),
            mlp_ratios=(4, 4),
            local_sizes=((4, 5, 5), (4, 5, 5)),
            fine_pysizes=((2, 5, 5), (2, 5, 5)),
            coarse_pysizes=((2, 2, 2), None),
        ),
        video_size=(8, 40, 40),
        drop_path_rate=0.0,
        # So narrow a network needs larger first weights than the published 0.02.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
    cls_head=dict(in_channels=64, dropout_ratio=0.0),
)
