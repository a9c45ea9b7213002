"""Many videos by one call."""

import json
import shutil

import av
import numpy as np
import pytest
import torch

from mmaction.apis import ActionRecogInferencer, MMAction2Inferencer
from mmaction.apis.inference import inference_recognizer
from mmaction.datasets.video_source import VideoSource
from mmaction.errors import CheckpointError
from mmaction.registry import INFERENCERS
from mmaction.utils.packaged_configs import published_model
from tests.apis.conftest import CLASSES, tiny_config
from tests.video_factory import write_video

NAMES = [f'class {i}' for i in range(CLASSES)]


@pytest.fixture
def inferencer(model, tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('\n'.join(NAMES) + '\n')
    return ActionRecogInferencer(model, label_file=path)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / 'clip.mp4', 20, 64, 48)


def scores(result):
    return np.array([p['pred_scores'] for p in result['predictions']])


def test_mixed_inputs_keep_their_order(inferencer, video, array, folder):
    result = inferencer([video, array, folder], batch_size=2)
    one_by_one = [scores(inferencer(v))[0] for v in (video, array, folder)]
    np.testing.assert_allclose(scores(result), one_by_one, atol=1e-6)
    np.testing.assert_allclose(one_by_one[1], one_by_one[2], atol=1e-6)
    assert not np.allclose(one_by_one[0], one_by_one[1], atol=1e-3)
    for prediction in result['predictions']:
        best = int(np.argmax(prediction['pred_scores']))
        assert prediction['pred_labels'] == [best]
        assert prediction['pred_names'] == [NAMES[best]]
        assert prediction['top5'][0] == (NAMES[best], max(prediction['pred_scores']))
        assert len(prediction['top5']) == 5


def test_a_list_of_frames_is_one_video(inferencer, array, tmp_path):
    expected = scores(inferencer(array))
    assert np.array_equal(scores(inferencer(list(array))), expected)
    assert np.array_equal(scores(inferencer(torch.from_numpy(array))), expected)
    result = inferencer([list(array), array], return_vis=True, vid_out_dir=tmp_path / 'out')
    assert np.array_equal(scores(result), np.repeat(expected, 2, axis=0))
    assert [frames.shape for frames in result['visualization']] == [array.shape] * 2
    assert inferencer.extract(list(array)).ndim == 1


def test_default_pipeline_is_single_view(inferencer, array):
    steps = [dict(step) for step in inferencer.model.cfg.test_pipeline]
    steps[1]['num_clips'] = 1
    steps[4]['type'] = 'CenterCrop'
    expected = inference_recognizer(inferencer.model, array, steps).pred_score
    np.testing.assert_allclose(scores(inferencer(array))[0], expected, atol=1e-6)


def test_random_weights_are_told():
    with pytest.warns(UserWarning, match='predictions are those of random weights'):
        ActionRecogInferencer(tiny_config(), device='cpu')


def test_config_and_weights(model, array, tmp_path):
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    built = ActionRecogInferencer(tiny_config(), path, 'cpu')
    expected = scores(ActionRecogInferencer(model)(array))
    np.testing.assert_allclose(scores(built(array)), expected, atol=1e-6)
    assert built(array)['predictions'][0]['pred_names'] == [str(expected.argmax())]
    with pytest.raises(TypeError, match='weights go with a config'):
        ActionRecogInferencer(model, path)


def test_data_samples_and_files(inferencer, array, tmp_path, capsys):
    out = tmp_path / 'new' / 'predictions.json'
    result = inferencer(
        [array, array], return_datasamples=True, print_result=True, pred_out_file=out
    )
    written = json.loads(out.read_text())['predictions']
    assert result['visualization'] is None
    assert [p['pred_labels'] for p in written] == [
        s.pred_label.tolist() for s in result['predictions']
    ]
    assert 'pred_labels' in capsys.readouterr().out


@pytest.mark.parametrize('kind', ['video', 'gif'])
def test_labeled_videos(inferencer, video, array, tmp_path, kind):
    out = tmp_path / 'out'
    result = inferencer(
        [video, array], return_vis=True, vid_out_dir=out, out_type=kind, target_resolution=(96, 72)
    )
    assert [v.shape for v in result['visualization']] == [(20, 72, 96, 3)] * 2
    suffix = 'gif' if kind == 'gif' else 'mp4'
    assert sorted(p.name for p in out.iterdir()) == [f'clip.{suffix}', f'clip_1.{suffix}']
    with av.open(str(out / f'clip.{suffix}')) as container:
        frames = [f.to_ndarray(format='rgb24') for f in container.decode(video=0)]
    assert len(frames) == 20
    error = np.abs(np.stack(frames).astype(int) - result['visualization'][0]).mean()
    assert error < 8  # of 255, by compression


def test_outputs_of_equal_names_are_kept_apart(inferencer, video, tmp_path):
    out = tmp_path / 'out'
    inferencer([video, video], vid_out_dir=out)
    assert sorted(p.name for p in out.iterdir()) == ['clip_0.mp4', 'clip_1.mp4']


def test_an_input_is_never_overwritten(inferencer, video):
    before = video.read_bytes()
    with pytest.raises(ValueError, match='is the video itself; give the result another name'):
        inferencer(video, vid_out_dir=video.parent)
    assert video.read_bytes() == before


def test_names_of_mmaction2s_unified_inferencer(model, array):
    prediction = MMAction2Inferencer(model)(array)['predictions'][0]
    plain = ActionRecogInferencer(model)(array)['predictions'][0]
    assert prediction['rec_labels'] == [plain['pred_labels']]
    assert prediction['rec_scores'] == [plain['pred_scores']]
    with pytest.raises(ValueError, match='needs rec'):
        MMAction2Inferencer()


def test_missing_input_fails_before_inference(inferencer, array, monkeypatch):
    monkeypatch.setattr(inferencer.model, 'test_step', lambda batch: pytest.fail('classified'))
    with pytest.raises(FileNotFoundError, match='missing'):
        inferencer([array, 'missing.mp4'])


def test_wrong_arguments(model, array, inferencer):
    with pytest.raises(ValueError, match="is no input of format 'video' but 'array'"):
        ActionRecogInferencer(model, input_format='video')(array)
    with pytest.raises(ValueError, match="input_format='film' must be one of"):
        ActionRecogInferencer(model, input_format='film')
    with pytest.raises(ValueError, match='batch_size=0'):
        inferencer(array, batch_size=0)
    with pytest.raises(ValueError, match="out_type='img'"):
        inferencer(array, out_type='img')


def test_one_bad_file_of_many(inferencer, array, video, tmp_path):
    bad = tmp_path / 'bad.mp4'
    bad.write_bytes(b'no video' * 100)
    alone = inferencer([video, array])['predictions']
    for batch_size in (1, 2, 4):
        found = inferencer([video, str(bad), array], batch_size, return_vis=True)
        first, error, last = found['predictions']
        for one, expected in ((first, alone[0]), (last, alone[1])):
            assert one['pred_labels'] == expected['pred_labels']
            assert one['pred_scores'] == pytest.approx(expected['pred_scores'], abs=1e-5)
        assert list(error) == ['error']
        assert str(bad) in error['error']
        assert [clip is None for clip in found['visualization']] == [False, True, False]
    samples = inferencer([video, str(bad)], return_datasamples=True)['predictions']
    assert 'pred_score' in samples[0]
    assert 'pred_score' not in samples[1]
    assert str(bad) in samples[1].error
    with pytest.raises(ValueError, match=r'bad\.mp4'):
        inferencer(str(bad))


def test_a_file_that_cannot_be_drawn_keeps_its_results(
    inferencer, video, array, tmp_path, monkeypatch
):
    """Its clip can be read, and not all its frames; what was predicted is written all the same."""
    cut = tmp_path / 'cut.mp4'
    shutil.copy(video, cut)
    parts = VideoSource.parts

    def damaged(source, size=32):
        if 'cut.mp4' in str(source.name):
            raise ValueError(f'{cut}: frame 7 cannot be decoded')
        yield from parts(source, size)

    monkeypatch.setattr(VideoSource, 'parts', damaged)
    out = tmp_path / 'predictions.json'
    found = inferencer(
        [str(cut), array], vid_out_dir=tmp_path / 'drawn', pred_out_file=out, return_vis=True
    )
    first, second = found['predictions']
    assert 'frame 7' in first['error']
    assert len(first['pred_scores']) == len(second['pred_scores'])
    assert 'error' not in second
    assert [clip is None for clip in found['visualization']] == [True, False]
    assert [path.name for path in (tmp_path / 'drawn').iterdir()] == ['clip_1.mp4']
    out.unlink()
    with pytest.raises(ValueError, match='frame 7'):
        inferencer(str(cut), return_vis=True, pred_out_file=out)
    assert len(json.loads(out.read_text())['predictions']) == 1


def test_a_dict_of_a_missing_file_is_one_bad_input_of_many(inferencer, array, tmp_path):
    bad = dict(filename=str(tmp_path / 'gone.mp4'), start_index=0, modality='RGB', label=-1)
    first, second = inferencer([array, bad])['predictions']
    assert 'error' not in first
    assert 'gone.mp4' in second['error']


@pytest.mark.parametrize(
    'given', ['x' * 1_800_000, b'x' * 1_800_000, [0] * 600_000, {'data': 'x' * 1_800_000}, 3.5]
)
def test_messages_do_not_hold_the_input(inferencer, given):
    with pytest.raises((FileNotFoundError, TypeError, ValueError)) as error:
        inferencer([given])
    assert len(str(error.value)) < 500


def test_a_family_of_mmaction2_has_its_published_weights(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    _, address = published_model('tsn')
    cached = tmp_path / 'hub' / 'checkpoints' / address.rpartition('/')[2]
    cached.parent.mkdir(parents=True)
    torch.save(dict(state_dict=dict(other=torch.zeros(1))), cached)
    with pytest.raises(CheckpointError, match=f'{cached.name} does not fit the model'):
        MMAction2Inferencer(rec='tsn', device='cpu')
    with pytest.raises(FileNotFoundError, match=r'own\.pth'):
        MMAction2Inferencer(rec='TSN', rec_weights='own.pth', device='cpu')
    with pytest.raises(FileNotFoundError, match='no config tsnn; did you mean tsn_imagenet'):
        MMAction2Inferencer('tsnn', device='cpu')


def test_the_task_names_the_inferencer():
    assert INFERENCERS.get('action-recognition') is ActionRecogInferencer
    assert INFERENCERS.get('ActionRecogInferencer') is ActionRecogInferencer
