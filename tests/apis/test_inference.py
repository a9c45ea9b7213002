"""A recognizer from a config and a checkpoint, and what it says of a video."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel

from mmaction.apis import ActionRecogInferencer, inference_recognizer, init_recognizer
from mmaction.apis.inference import top_classes
from mmaction.datasets import DecordDecode, DecordInit
from mmaction.errors import CheckpointError, DivergedError
from mmaction.registry import MODELS
from mmaction.structures import ActionDataSample
from tests.apis.conftest import CLASSES, tiny_config
from tests.video_factory import write_video


def by_hand(model, array):
    """Probabilities of an array from its crops and clips, cut without the pipeline."""
    import cv2

    # 2 clips of 4 frames 2 apart in 20 frames: the first starts at 0, the last at 13. The three
    # crops of 43 pixels lie 5 pixels, half of what is left over, apart.
    frames = [cv2.resize(f, (43, 32), interpolation=cv2.INTER_LINEAR) for f in array]
    views = []
    for left in (0, 10, 5):
        for start in (0, 13):
            clip = np.stack([frames[start + 2 * i][:, left : left + 32] for i in range(4)])
            views.append(torch.from_numpy(clip).permute(3, 0, 1, 2))
    clips = (torch.stack(views).float() - 120) / 60
    with torch.no_grad():
        return model.cls_head(model.backbone(clips)).softmax(1).mean(0)


def test_all_views_of_the_test_pipeline_are_averaged(model, array):
    sample = inference_recognizer(model, array)
    assert isinstance(sample, ActionDataSample)
    expected = by_hand(model, array)
    torch.testing.assert_close(sample.pred_score, expected)
    assert sample.pred_label.tolist() == [int(expected.argmax())]


def test_array_folder_and_dicts_of_them_agree(model, array, folder):
    scores = inference_recognizer(model, array).pred_score
    template = 'img_{:05d}.png'
    for video in (
        folder,
        str(folder),
        dict(array=array, total_frames=len(array)),
        dict(frame_dir=str(folder), total_frames=len(array), filename_tmpl=template),
    ):
        torch.testing.assert_close(inference_recognizer(model, video).pred_score, scores)


def test_video_file_agrees_with_its_frames(model, tmp_path):
    path = write_video(tmp_path / 'clip.mp4', 20, 64, 48)
    decoded = DecordDecode()(
        {**DecordInit()(dict(filename=str(path))), 'frame_inds': np.arange(20)}
    )['imgs']
    expected = inference_recognizer(model, decoded).pred_score
    for video in (path, str(path), dict(filename=str(path))):
        torch.testing.assert_close(inference_recognizer(model, video).pred_score, expected)


def test_custom_test_pipeline(model, array):
    steps = [dict(step) for step in model.cfg.test_pipeline]
    steps[1]['num_clips'] = 1
    other = inference_recognizer(model, array, steps).pred_score
    assert not torch.allclose(other, inference_recognizer(model, array).pred_score)

    seen = []

    def pipeline(info):
        seen.append(sorted(info))
        clip = torch.zeros(1, 3, 4, 32, 32, dtype=torch.uint8)
        return dict(inputs=clip, data_samples=ActionDataSample())

    assert inference_recognizer(model, array, pipeline).pred_score.shape == (CLASSES,)
    assert 'array' in seen[0]


def test_weights_and_names_come_from_the_checkpoint(model, array, tmp_path):
    path = tmp_path / 'model.pth'
    names = [f'class {i}' for i in range(CLASSES)]
    meta = dict(dataset_meta=dict(classes=names))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    torch.manual_seed(9)
    loaded = init_recognizer(tiny_config(), path, 'cpu')
    assert not loaded.training
    assert loaded.dataset_meta['classes'] == names
    assert loaded.cfg.model.cls_head.num_classes == CLASSES
    torch.testing.assert_close(
        inference_recognizer(loaded, array).pred_score,
        inference_recognizer(model, array).pred_score,
    )
    with pytest.raises(CheckpointError, match=r'cls_head.fc_cls.weight \(\(6, 24\) in the file'):
        init_recognizer(tiny_config(**{'model.cls_head.num_classes': 7}), path, 'cpu')


def test_diverged_model_is_one_sentence(model, array, tmp_path):
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    weights['backbone.patch_embeds.0.proj.weight'][0] = float('nan')
    torch.save(dict(state_dict=weights), tmp_path / 'model.pth')
    with pytest.warns(UserWarning, match=r'the first is backbone\.patch_embeds\.0\.proj'):
        loaded = init_recognizer(tiny_config(), tmp_path / 'model.pth', 'cpu')
    with pytest.raises(DivergedError, match='scores of the model are not finite'):
        inference_recognizer(loaded, array)


def test_config_file_and_options(tmp_path):
    path = tmp_path / 'config.py'
    tiny_config().dump(path)
    model = init_recognizer(path, device='cpu', cfg_options=['model.cls_head.num_classes=9'])
    assert model.cls_head.num_classes == 9
    pretrained = tiny_config(**{'model.backbone.pretrained': 'nowhere.pth'})
    assert init_recognizer(pretrained, device='cpu').cfg.model.backbone.pretrained is None
    assert pretrained.model.backbone.pretrained == 'nowhere.pth'  # to be trained from, say


def test_names_beside_the_test_list(tmp_path):
    names = [f'class {i}' for i in range(CLASSES)]
    (tmp_path / 'classes.txt').write_text('\n'.join(names) + '\n')
    loader = dict(dataset=dict(ann_file='val.txt', data_root=str(tmp_path)))
    model = init_recognizer(tiny_config(test_dataloader=loader), device='cpu')
    assert model.dataset_meta['classes'] == names
    # the list of another data set names nothing
    (tmp_path / 'classes.txt').write_text('one\ntwo\n')
    model = init_recognizer(tiny_config(test_dataloader=loader), device='cpu')
    assert model.dataset_meta['classes'] is None


@pytest.mark.parametrize(
    ('video', 'error', 'text'),
    [
        ('missing.mp4', FileNotFoundError, 'there is no video file or folder of frames missing'),
        (7, TypeError, 'not int: 7'),
        ({'label': 1}, ValueError, "needs 'filename', 'frame_dir' or 'array'"),
        (np.zeros((4, 8, 8), np.uint8), ValueError, r'not \(4, 8, 8\) of uint8'),
        (np.zeros((4, 8, 8, 3)), ValueError, 'of float64'),
    ],
)
def test_invalid_input_types_are_errors(model, video, error, text):
    with pytest.raises(error, match=text):
        inference_recognizer(model, video)


def test_unreadable_video_is_named(model, tmp_path):
    path = tmp_path / 'broken.mp4'
    path.write_bytes(b'no video')
    with pytest.raises(ValueError, match=r'broken\.mp4. cannot be read: '):
        inference_recognizer(model, path)


def test_folder_without_frames_is_error(model, folder):
    (folder / 'img_00007.png').unlink()
    with pytest.raises(ValueError, match=r'frames are missing before .img_00008\.png.'):
        inference_recognizer(model, folder)
    (folder / 'cover.png').write_bytes(b'')
    with pytest.raises(ValueError, match=r'1 images have other names than .img_\{:05\}\.png'):
        inference_recognizer(model, folder)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(ValueError, match='holds no numbered images'):
        inference_recognizer(model, folder)


def test_frames_numbered_from_any_number_without_zeros(model, folder, array):
    for i in range(len(array)):
        (folder / f'img_{i + 1:05d}.png').rename(folder / f'frame{i + 8}.png')
    expected = inference_recognizer(model, array).pred_score
    torch.testing.assert_close(inference_recognizer(model, folder).pred_score, expected)


def test_invalid_config_or_device_is_error():
    with pytest.raises(TypeError, match='config must be a path or a Config, not list'):
        init_recognizer([])
    with pytest.raises(FileNotFoundError, match=r'there is no config file nowhere\.py'):
        init_recognizer(Path('nowhere.py'))
    with pytest.raises(ValueError, match='is none such as "cpu"'):
        init_recognizer(tiny_config(), device='quantum')
    with pytest.raises(ValueError, match='GPUs that PyTorch can use; choose "cpu"'):
        init_recognizer(tiny_config(), device='cuda:99')


@MODELS.register_module()
class MeanColor(BaseModel):
    """A model of a user's that has neither backbone nor head."""

    def forward(self, inputs, data_samples=None, mode='tensor'):
        scores = inputs.float().mean(dim=(1, 3, 4, 5)).softmax(1)
        return [
            sample.set_pred_score(score).set_pred_label(int(score.argmax()))
            for sample, score in zip(data_samples, scores, strict=True)
        ]


def test_model_without_backbone_and_head(array):
    preprocessor = dict(type='ActionDataPreprocessor', format_shape='NCTHW')
    config = tiny_config(
        model=dict(_delete_=True, type='MeanColor', data_preprocessor=preprocessor)
    )
    model = init_recognizer(config, device='cpu')
    assert inference_recognizer(model, array).pred_score.shape == (3,)
    assert len(ActionRecogInferencer(model)(array)['predictions'][0]['pred_scores']) == 3


def test_pipeline_that_does_not_decode(model, array):
    with pytest.raises(ValueError, match='no decoding step; its steps are FormatShape'):
        inference_recognizer(model, array, [dict(type='FormatShape', input_format='NCTHW')])


def test_top_classes():
    sample = ActionDataSample().set_pred_score(torch.tensor([0.1, 0.6, 0.3]))
    assert [name for name, _ in top_classes(sample, k=2)] == ['1', '2']
    assert top_classes(sample, ['a', 'b', 'c'], 1) == [('b', pytest.approx(0.6))]
    # Logits of two views that are kept apart: the mean of their probabilities counts.
    logits = torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 9.0]])
    found = dict(top_classes(ActionDataSample(pred_score=logits), k=3))
    first, second = logits.softmax(-1)
    assert [found[str(i)] for i in range(3)] == pytest.approx(((first + second) / 2).tolist())
