"""Tiny models of transformers in local folders, as a snapshot of the Hub looks on disk."""

import zlib

import torch

SIZES = dict(hidden_size=24, num_hidden_layers=3, num_attention_heads=2)
CONFIGS = dict(
    videomae=dict(image_size=32, patch_size=16, num_frames=4, intermediate_size=48, **SIZES),
    timesformer=dict(image_size=32, patch_size=16, num_frames=4, intermediate_size=48, **SIZES),
    vivit=dict(
        image_size=32, tubelet_size=[2, 16, 16], num_frames=4, intermediate_size=48, **SIZES
    ),
    vjepa2=dict(
        crop_size=32,
        patch_size=16,
        frames_per_clip=4,
        mlp_ratio=2,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        num_pooler_layers=1,
        **SIZES,
    ),
    vit=dict(image_size=32, patch_size=16, intermediate_size=48, **SIZES),
    dinov2=dict(image_size=28, patch_size=14, **SIZES),
    convnext=dict(image_size=32, hidden_sizes=[8, 16, 16, 24], depths=[1, 1, 2, 1]),
    swin=dict(image_size=32, patch_size=2, embed_dim=8, depths=[1, 2], num_heads=[1, 2],
              window_size=4),
)  # fmt: skip
VIDEO = ('videomae', 'timesformer', 'vivit', 'vjepa2')
PROCESSORS = dict(
    videomae='VideoMAEVideoProcessor',
    timesformer='TimesformerVideoProcessor',
    vivit='VivitVideoProcessor',
    vjepa2='VJEPA2VideoProcessor',
)


def fill(model):
    """Give every weight a value that depends on its name and place alone, none of them zero."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            values = torch.randn(weight.shape, generator=generator) * 0.2
            values += 0.01 * values.sign() + (weight.ndim == 1 and name.endswith('norm.weight'))
            weight.copy_(values)
            assert (weight != 0).all(), name
    return model


def save(kind, folder, classes=3, **changes):
    """Write a classifier of a kind, and its processor; returns the model."""
    import transformers

    config = transformers.AutoConfig.for_model(kind, num_labels=classes, **CONFIGS[kind], **changes)
    if kind in VIDEO:
        model = transformers.AutoModelForVideoClassification.from_config(config)
        processor = getattr(transformers, PROCESSORS[kind])
        size = config.crop_size if kind == 'vjepa2' else config.image_size
        processor(crop_size=dict(height=size, width=size)).save_pretrained(folder)
    else:
        model = transformers.AutoModelForImageClassification.from_config(config)
        size = dict(height=config.image_size, width=config.image_size)
        transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    fill(model).eval().save_pretrained(folder)
    return model
