# Video Swin as wide and deep as DualFormer pico, by its recipe.
_base_ = '../dualformer/dualformer_pico_motion_digits.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer3D',
        arch=dict(embed_dims=32, depths=(2, 2), num_heads=(2, 4)),
        window_size=(4, 5, 5),
        drop_path_rate=0.0,
        out_indices=(1,),
        # As for DualFormer pico: so narrow a network needs larger first weights.
        init_cfg=dict(type='Xavier', layer='Linear', distribution='uniform'),
    ),
)
