"""Token maps: what is computed and what is drawn."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmaction.registry import MODELS
from mmaction.visualization.token_map import (
    OTHER,
    PALETTE,
    TokenMap,
    draw_token_map,
    legend_lines,
    overlay_token_map,
    percent,
    token_map,
)

BACKBONE = dict(
    type='DualFormer',
    arch=dict(
        embed_dims=[8],
        num_heads=[2],
        depths=[2],
        mlp_ratios=[1],
        local_sizes=[[2, 2, 2]],
        fine_pysizes=[[2, 2, 2]],
        coarse_pysizes=[None],
    ),
    video_size=[4, 16, 16],
)
NAMES = ['one', 'two', 'three']


def model_config(kind='Recognizer3D', head='I3DHead'):
    return dict(
        type=kind,
        backbone=BACKBONE,
        cls_head=dict(type=head, num_classes=3, in_channels=8),
        data_preprocessor=dict(
            type='ActionDataPreprocessor', mean=[100] * 3, std=[50] * 3, format_shape='NCTHW'
        ),
    )


def made(classes, scores=1.0):
    classes = np.asarray(classes)
    count = classes.max() + 1
    return TokenMap(classes, np.full(classes.shape, scores), np.full(count, 1 / count))


def gray_frames(count=4, height=32, width=48):
    return np.full((count, height, width, 3), 100, np.uint8)


@pytest.mark.parametrize('kind', ['Recognizer3D', 'Recognizer3D_TL'])
def test_token_map_shows_top_class_per_token(kind):
    head = 'I3DHead' if kind == 'Recognizer3D' else 'I3DHead_TL'
    model = MODELS.build(model_config(kind, head)).eval()
    clip = torch.randint(0, 256, (3, 4, 16, 24), dtype=torch.uint8)
    tokens = token_map(model, clip)
    assert tokens.classes.shape == tokens.scores.shape == (2, 4, 6)
    features = model((clip[None, None] - 100.0) / 50)[0]
    logits = model.cls_head.fc_cls(features[:, 1, 2, 3])
    assert tokens.classes[1, 2, 3] == logits.argmax()
    assert tokens.scores[1, 2, 3] == pytest.approx(logits.softmax(0).max().item(), abs=1e-5)
    whole = model.cls_head.fc_cls(features.mean((1, 2, 3))).softmax(0)
    assert torch.allclose(torch.from_numpy(tokens.clip_scores), whole, atol=1e-5)


def test_a_head_without_a_classifier_is_refused():
    model = MODELS.build(model_config()).eval()
    del model.cls_head.fc_cls
    with pytest.raises(ValueError, match=r'linear fc_cls.*has I3DHead'):
        token_map(model, torch.zeros(3, 4, 16, 16, dtype=torch.uint8))


def test_shares_colors_and_steps():
    tokens = made([[[2, 2], [2, 0]], [[1, 2], [2, 0]]])
    assert tokens.shares() == [(2, 5 / 8), (0, 2 / 8), (1, 1 / 8)]
    # few classes: each has a color of its own in every picture
    assert tokens.colors()[2] == made([[[0, 0, 2]]]).colors()[2] != tokens.colors()[0]
    many = made(np.arange(10).reshape(1, 2, 5)).colors()
    assert len(set(many.values())) == len(PALETTE) + 1
    assert many[8] == many[9] == tuple(int(OTHER[i : i + 2], 16) / 255 for i in (1, 3, 5))
    assert tokens.step_of(np.arange(4), 4).tolist() == [0, 0, 1, 1]


def test_token_map_uses_class_colors(tmp_path):
    tokens = made([[[2, 2], [2, 0]], [[1, 2], [2, 0]]])
    draw_token_map(gray_frames(), tokens, tmp_path / 'new' / 'a.png', 2, NAMES, 'title')
    picture = np.asarray(Image.open(tmp_path / 'new' / 'a.png').convert('RGB'))
    for hue in PALETTE[:3]:
        rgb = [int(hue[i : i + 2], 16) for i in (1, 3, 5)]
        assert (picture == rgb).all(-1).sum() > 500, hue
    rgb = [int(PALETTE[3][i : i + 2], 16) for i in (1, 3, 5)]
    assert not (picture == rgb).all(-1).any()
    draw_token_map(gray_frames(), tokens, tmp_path / 'b.png', 4)
    assert Image.open(tmp_path / 'b.png').width > picture.shape[1]  # more columns
    with pytest.raises(ValueError, match='0 frames'):
        draw_token_map(gray_frames(), tokens, tmp_path / 'c.png', 0)


def test_legend_names_each_class_that_has_a_color_and_counts_the_others():
    classes = np.repeat(np.arange(12), [400, 90, 9, 9, 9, 9, 9, 9, 1, 1, 1, 1]).reshape(2, 2, 137)
    lines = legend_lines(made(classes), [f'name {label}' for label in range(12)])
    assert [text for _, text in lines[:2]] == ['0 name 0  73%', '1 name 1  16%']
    assert lines[-1][1] == '4 others  1%'
    assert len({color for color, _ in lines}) == len(lines) == len(PALETTE) + 1
    assert len(legend_lines(made(classes % 3), None)) == 3
    # the strip below a film says as much
    short = overlay_token_map(gray_frames(), made(classes % 3))
    assert overlay_token_map(gray_frames(), made(classes)).shape[1] == short.shape[1] + 6 * 30


def test_small_shares_are_not_rounded_to_zero():
    assert [percent(part) for part in (0, 0.001, 0.006, 0.37, 1)] == [
        '0%',
        '<1%',
        '1%',
        '37%',
        '100%',
    ]


def test_overlay_blends_gray_and_class_color_by_confidence():
    tokens = TokenMap(
        np.array([[[0, 1]], [[0, 0]]]), np.array([[[1.0, 1.0]], [[0.0, 1.0]]]), np.ones(3) / 3
    )
    pages = overlay_token_map(gray_frames(), tokens, NAMES, alpha=0.5, height=64)
    assert pages.shape[:3:2] == (4, 96)
    assert pages.shape[1] > 64  # the legend
    blue, orange = (np.array([int(h[i : i + 2], 16) for i in (1, 3, 5)]) for h in PALETTE[:2])
    assert np.abs(pages[0, 30, 10] - (100 + blue) / 2).max() <= 1
    assert np.abs(pages[1, 30, 90] - (100 + orange) / 2).max() <= 1
    # score 0: a tint that can still be seen
    assert np.abs(pages[3, 30, 10] - (85 + 0.15 * blue)).max() <= 1
    strip = pages[:, 64:]
    for hue in (blue, orange):
        assert (strip == hue).all(-1).sum(axis=(1, 2)).min() > 20
    with pytest.raises(ValueError, match='alpha=2'):
        overlay_token_map(gray_frames(), tokens, alpha=2)


def test_gray_of_an_overlay_is_the_luma_of_rgb():
    """A red frame is darker than a green one and brighter than a blue one."""
    tokens = TokenMap(np.zeros((1, 1, 1), int), np.ones((1, 1, 1)), np.ones(3) / 3)
    for color, luma in (((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29)):
        frames = np.full((1, 64, 96, 3), color, np.uint8)
        (page,) = overlay_token_map(frames, tokens, NAMES, alpha=0.0, height=64)
        assert np.abs(page[:64].astype(int) - luma).max() <= 1
