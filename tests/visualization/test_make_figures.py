"""tools/figures/make_figures.py, on an untrained network."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmaction.apis import init_recognizer
from mmaction.data_preparation import motion_digits as digits
from tools.figures.make_figures import main, pooled

CONFIG = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'


def test_both_figures(tmp_path, capsys):
    digits.build(tmp_path / 'data', 1, 3, workers=1)
    torch.save(init_recognizer(CONFIG, None, 'cpu').state_dict(), tmp_path / 'x.pth')
    options = [CONFIG, str(tmp_path / 'x.pth'), '--data', str(tmp_path / 'data')]
    main([*options, '--out', str(tmp_path), '--clips', '0', '2', '--clip', '1'])
    assert capsys.readouterr().out.count('written: ') == 2
    with Image.open(tmp_path / 'saliency.gif') as film:
        assert film.n_frames == 8
        assert film.width > 4 * 168
        assert film.height > 2 * 168
    assert (tmp_path / 'saliency.gif').stat().st_size < 1.5e6
    drawing = np.asarray(Image.open(tmp_path / 'stratified_attention.png').convert('RGB'))
    # the token that asks, and the blocks of both kinds
    for color in ((221, 107, 32), (43, 108, 176), (47, 133, 90)):
        assert (drawing == color).all(-1).sum() > 100
    with pytest.raises(SystemExit):
        main([*options[:2], '--data', str(tmp_path)])
    assert 'there is no ' in capsys.readouterr().err


def test_pooled_map_is_mean_of_cells():
    frames = np.random.default_rng(0).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8)
    cells = pooled(frames, (2, 3, 2))
    assert cells.shape == (2, 3, 2, 3)
    assert np.abs(cells[1, 2, 0] - frames[2:, 4:, :4].mean((0, 1, 2))).max() <= 0.5
