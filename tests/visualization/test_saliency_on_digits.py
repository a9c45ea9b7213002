"""The saliency of a trained model lies on what moves; tools/figures/saliency_on_digits.py."""

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmaction.apis import init_recognizer
from mmaction.data_preparation import motion_digits as digits
from tools.figures.saliency_on_digits import boxes, digit_video, main, measure, row, shares

CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'
HIRES, LOCAL = MAPS = ('hires-cam:backbone/blocks/0/-1', 'attention:backbone/blocks/-1/-2')


def two_way_clips(count):
    """Digits that move left (0) or right (1), as normalized clips (N, 1, 3, 8, 40, 40)."""
    masks = digits.digit_masks('train')
    clips = []
    for index in range(count):
        frames = digits.render_clip(np.random.default_rng([7, index]), masks, index % 2)
        chosen = frames[np.linspace(0, len(frames) - 1, 8).round().astype(int)]
        clips.append([cv2.resize(f, (40, 40), interpolation=cv2.INTER_AREA) for f in chosen])
    stacked = torch.from_numpy(np.array(clips)).permute(0, 4, 1, 2, 3)[:, None]
    return (stacked.float() - 115) / 58, torch.arange(count) % 2


@pytest.fixture(scope='module')
def trained():
    """The quickstart's network after a hundred steps on two of the classes."""
    torch.manual_seed(0)
    model = init_recognizer(CONFIG, None, 'cpu', ['model.cls_head.num_classes=2']).train()
    clips, labels = two_way_clips(128)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=100)
    for step in range(100):
        batch = (torch.arange(16) + 16 * step) % len(clips)
        loss = F.cross_entropy(model(clips[batch], mode='tensor', stage='head'), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert loss.item() < 0.1
    return model.eval()


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Ten validation clips."""
    folder = tmp_path_factory.mktemp('digits')
    digits.build(folder, 1, 10, workers=1)
    return str(folder)


def test_rendered_box_contains_the_digit():
    for index in (0, 12):
        film, (frames, _) = digit_video(index)[..., 0], digits.make_clip(0, 'val', index)
        assert film.shape == frames.shape[:3]
        # where there is no ink nothing ever changes, and where it comes or goes much does
        change, ink = np.ptp(frames, axis=0).max(-1), np.ptp(film, axis=0)
        assert change[film.max(0) == 0].max() <= 1
        assert (ink > 200).sum() > 50
        assert change[ink > 200].min() > 40


def test_digit_boxes_and_saliency_shares():
    film = np.zeros((2, 6, 8), np.uint8)
    film[0, 2, 3], film[0, 4, 5], film[0, 0, 0] = 200, 255, 100  # the last is too faint
    inside = boxes(film)
    assert inside[0, 2:5, 3:6].all()
    assert inside.sum() == 9
    saliency = np.ones(film.shape)
    assert shares(saliency, inside) == (pytest.approx(9 / 96), pytest.approx(9 / 96))
    saliency[0, 3, 4] = 106  # 105 of 201 more on a place within the box
    assert shares(saliency, inside)[0] == pytest.approx(114 / 201)
    assert np.isnan(shares(0 * saliency, inside)[0])
    assert row([(0.4, 0.2), (0.1, 0.2), (np.nan, 0.2)]) == '1.25 | 1'
    assert row([(np.nan, 0.2)]) == 'no saliency | 0'


def test_trained_model_saliency_covers_the_digit(trained, data):
    torch.manual_seed(1)
    untrained = init_recognizer(CONFIG, None, 'cpu', ['model.cls_head.num_classes=2'])
    found, before = (
        {name: np.array(values) for name, values in measure(model, data, 10, MAPS).items()}
        for model in (trained, untrained)
    )
    for name in MAPS:
        saliency, area = found[name].T
        assert 0.05 < area.mean() < 0.4
        ratio, chance = (saliency / area).mean(), (before[name][:, 0] / area).mean()
        assert ratio > 2, name
        assert ratio > 1.4 * chance, name
        assert (saliency > area).all(), name


def test_table(data, tmp_path, capsys):
    torch.manual_seed(0)
    torch.save(init_recognizer(CONFIG, None, 'cpu').state_dict(), tmp_path / 'x.pth')
    arguments = [CONFIG, str(tmp_path / 'x.pth'), '--device', 'cpu', '--clips', '2', '--seeds', '1']
    main([*arguments, '--data', data, '--maps', HIRES])
    first, _, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("2 clips; the digit's box is ")
    _, trained, above, untrained, again = lines[2].strip('| ').split(' | ')
    assert (trained, above) == (untrained, again)  # the same weights
    for wrong, text in (
        (['--data', 'nowhere'], 'there is no nowhere/videos/val/00000.mp4'),
        (['--data', data, '--maps', 'hires-cam'], 'hires-cam is not METHOD:LAYER'),
        (['--data', data, '--clips', '0'], '--clips and --seeds'),
    ):
        with pytest.raises(SystemExit):
            main([*arguments, *wrong])
        assert text in capsys.readouterr().err
