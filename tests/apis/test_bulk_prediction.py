"""Predictions into Parquet parts: each clip once, also after kills, and read by what follows."""

import json
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch

from mmaction.apis import inference_recognizer, init_recognizer
from mmaction.apis.bulk_prediction import BulkRequest, predict_list
from mmaction.apis.features import clip_features
from mmaction.apis.inference import load_clip
from mmaction.apis.report import Results
from mmaction.data_preparation.packing import PackRequest, pack_list
from mmaction.datasets.shard_index import ShardIndex, write_index
from mmaction.errors import DivergedError
from mmaction.evaluation.results import read_results
from mmaction.utils.prediction_parts import check_parts, parts_there, read_parts, write_part
from mmaction.utils.work_share import WorkShare
from tests.apis.conftest import tiny_config
from tests.video_factory import write_video

parquet = pytest.importorskip('pyarrow.parquet')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp('weights') / 'model.pth'
    torch.save(dict(state_dict=init_recognizer(tiny_config(), device='cpu').state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Ten clips, the fourth damaged; `list.txt`."""
    root = tmp_path_factory.mktemp('clips')
    for number in range(10):
        write_video(root / f'{number}.mp4', num_frames=12 + number, width=48, height=32)
    (root / '3.mp4').write_bytes(b'broken')
    (root / 'list.txt').write_text(''.join(f'{n}.mp4 {n % 6}\n' for n in range(10)))
    return root


def request_of(folder, out, **changes):
    given = dict(part_size=3, batch_size=2, workers=0)
    return BulkRequest(str(folder / 'list.txt'), str(out), **{**given, **changes})


def test_each_clip_is_predicted_as_by_itself(folder, checkpoint, tmp_path):
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    done = predict_list(model, request_of(folder, tmp_path, embeddings=True), checkpoint)
    assert done == (10, 1, 10)
    assert check_parts(tmp_path, 10) == (10, 1)
    rows = [row for p in range(4) for row in parquet.read_table(
        tmp_path / f'part-{p:06}.parquet').to_pylist()]  # fmt: skip
    assert [row['index'] for row in rows] == list(range(10))
    for row in rows:
        assert row['labels'] == [row['index'] % 6]
        if row['index'] == 3:
            assert row['scores'] is row['embedding'] is None
            assert row['unreadable']
            continue
        alone = inference_recognizer(model, str(folder / f'{row["index"]}.mp4'))
        np.testing.assert_allclose(row['scores'], alone.pred_score.numpy(), atol=1e-5)
        assert row['pred_label'] == int(alone.pred_label)
        # Scores of one view are those of its embedding; here the mean over six views.
        views = clip_features(model, [load_clip(model, folder / f'{row["index"]}.mp4')])
        np.testing.assert_allclose(row['embedding'], views[0].numpy(), atol=1e-5)
        assert row['unreadable'] is None


def test_embeddings_are_what_the_classifier_sees(folder, checkpoint, tmp_path):
    cfg = tiny_config(**{'test_pipeline.1.num_clips': 1})
    cfg.test_pipeline[4] = dict(type='CenterCrop', crop_size=32)
    model = init_recognizer(cfg, checkpoint, 'cpu')
    predict_list(model, request_of(folder, tmp_path, embeddings=True, part_size=99), checkpoint)
    table = parquet.read_table(tmp_path / 'part-000000.parquet').to_pylist()
    read = [row for row in table if row['unreadable'] is None]
    seen = torch.tensor([row['embedding'] for row in read])
    scores = model.cls_head.fc_cls(seen).softmax(-1).detach()
    np.testing.assert_allclose(scores.numpy(), [row['scores'] for row in read], atol=1e-5)


def _predict(request, checkpoint, kill_at=None):
    """In a child process, killed at its first part beyond so many."""
    torch.set_num_threads(1)
    if kill_at is not None:
        import mmaction.apis.bulk_prediction as module

        def write(folder, part, rows):
            if len(parts_there(folder)) >= kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            write_part(folder, part, rows)

        module.write_part = write
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    predict_list(model, request, checkpoint)


def test_two_kills_lose_and_repeat_nothing(folder, checkpoint, tmp_path):
    context = multiprocessing.get_context('fork')
    request = request_of(folder, tmp_path / 'out')
    times = {}
    for kill_at, status in ((1, -signal.SIGKILL), (3, -signal.SIGKILL), (None, 0)):
        child = context.Process(target=_predict, args=(request, checkpoint, kill_at))
        child.start()
        child.join(120)
        assert child.exitcode == status
        for path in (tmp_path / 'out').glob('*.parquet'):
            # What is done is not done again.
            assert times.setdefault(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    assert len(times) == 4
    assert check_parts(tmp_path / 'out', 10) == (10, 1)
    whole = request_of(folder, tmp_path / 'whole')
    _predict(whole, checkpoint)
    for name in times:
        mine, theirs = (parquet.read_table(tmp_path / f / name) for f in ('out', 'whole'))
        assert mine.equals(theirs)


def test_shares_hold_each_clip_once_from_shards(folder, checkpoint, tmp_path):
    assert pack_list(PackRequest(str(folder / 'list.txt'), str(tmp_path / 'packed'))) == 0
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    out = str(tmp_path / 'out')
    for index in range(3):
        share = WorkShare(index, 3)
        request = BulkRequest(str(tmp_path / 'packed'), out, None, 3, 2, 0, share=share)
        predict_list(model, request, checkpoint)
        if index < 2:
            with pytest.raises(ValueError, match='clips are missing, the first is number'):
                check_parts(out, 10)
    assert check_parts(out, 10) == (10, 1)
    predict_list(model, request_of(folder, tmp_path / 'files'), checkpoint)
    for mine, theirs in zip(read_parts(out), read_parts(tmp_path / 'files'), strict=True):
        assert torch.equal(mine['pred_score'], theirs['pred_score'])


def test_shards_packed_again_are_the_same_clips(folder, checkpoint, tmp_path):
    packing = PackRequest(str(folder / 'list.txt'), str(tmp_path / 'packed'))
    pack_list(packing)
    index = ShardIndex(tmp_path / 'packed' / 'index.npz')
    # As indices were written before they had the sizes of the shards.
    names = [os.path.basename(shard) for shard in index.shards]
    write_index(index.path, names, [index[i] for i in range(len(index))])
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    request = BulkRequest(str(tmp_path / 'packed'), str(tmp_path / 'out'), None, 3, 2, 0)
    assert predict_list(model, request, checkpoint) == (10, 1, 10)
    pack_list(packing)
    assert None not in ShardIndex(index.path).shard_sizes
    assert predict_list(model, request, checkpoint) == (0, 0, 10)
    (tmp_path / 'list.txt').write_text(''.join(f'{n}.mp4 {n // 2}\n' for n in range(10)))
    other = PackRequest(str(tmp_path / 'list.txt'), str(tmp_path / 'other'), str(folder))
    pack_list(other)
    with pytest.raises(ValueError, match='was made with'):
        predict_list(model, request._replace(source=other.out), checkpoint)


def test_other_clips_or_weights_are_not_mixed(folder, checkpoint, tmp_path):
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    out = tmp_path / 'out'
    predict_list(model, request_of(folder, out, part_size=2), checkpoint)
    told = r"made with {'part_size': 2}, asked for is {'part_size': 5}: .* or remove this one "
    with pytest.raises(ValueError, match=told):
        predict_list(model, request_of(folder, out, part_size=5), checkpoint)
    other = tmp_path / 'other.pth'
    shutil.copy(folder / '0.mp4', other)
    with pytest.raises(ValueError, match='was made with'):
        predict_list(model, request_of(folder, out, part_size=2), str(other))


def test_a_folder_of_an_earlier_version_is_told(folder, checkpoint, tmp_path):
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    predict_list(model, request_of(folder, tmp_path), checkpoint)
    settings = json.loads((tmp_path / 'predict.json').read_text())
    del settings['config']
    (tmp_path / 'predict.json').write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"made with {'config': None}, asked for is {'config': '"):
        predict_list(model, request_of(folder, tmp_path), checkpoint)


def test_other_test_pipelines_and_options_are_not_mixed(folder, checkpoint, tmp_path):
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    request = request_of(folder, tmp_path)
    predict_list(model, request, checkpoint)
    for changes in (dict(stride=1.0), dict(embeddings=True)):
        with pytest.raises(ValueError, match='was made with'):
            predict_list(model, request_of(folder, tmp_path, **changes), checkpoint)
    model = init_recognizer(tiny_config(**{'test_pipeline.1.num_clips': 1}), checkpoint, 'cpu')
    with pytest.raises(ValueError, match='was made with'):
        predict_list(model, request, checkpoint)


def test_views_that_the_head_keeps_apart_are_averaged(folder, checkpoint, tmp_path):
    rows = []
    for average in (None, 'prob'):
        cfg = tiny_config(**{'model.cls_head.average_clips': average})
        request = request_of(folder, tmp_path / str(average), part_size=99)
        predict_list(init_recognizer(cfg, checkpoint, 'cpu'), request, checkpoint)
        table = parquet.read_table(tmp_path / str(average) / 'part-000000.parquet')
        rows.append([row for row in table.to_pylist() if row['unreadable'] is None])
    for apart, averaged in zip(*rows, strict=True):
        np.testing.assert_allclose(apart['scores'], averaged['scores'], atol=1e-5)
        assert apart['pred_label'] == averaged['pred_label']


def test_clips_without_labels_have_none(folder, checkpoint, tmp_path):
    (tmp_path / 'list.txt').write_text('0.mp4\n')
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    request = BulkRequest(str(tmp_path / 'list.txt'), str(tmp_path / 'out'), str(folder), workers=0)
    predict_list(model, request, checkpoint)
    (row,) = parquet.read_table(tmp_path / 'out' / 'part-000000.parquet').to_pylist()
    assert row['labels'] == []


@pytest.mark.parametrize('stride', [None, 1.0])
def test_scores_that_are_not_finite_are_not_written(folder, checkpoint, tmp_path, stride):
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    model.cls_head.fc_cls.bias.data[0] = float('nan')
    with pytest.raises(DivergedError):
        predict_list(model, request_of(folder, tmp_path, stride=stride), checkpoint)
    assert not parts_there(tmp_path)


def test_doubles_are_found(folder, checkpoint, tmp_path):
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    predict_list(model, request_of(folder, tmp_path), checkpoint)
    shutil.copy(tmp_path / 'part-000001.parquet', tmp_path / 'part-000004.parquet')
    with pytest.raises(ValueError, match='3 of 10 clips are in two parts, the first is number 3'):
        check_parts(tmp_path, 10)
    (tmp_path / 'part-000004.parquet').write_bytes(b'PAR1')
    with pytest.raises(ValueError, match=r'part-000004\.parquet is damaged'):
        check_parts(tmp_path, 10)


def test_report_and_metrics_read_them(folder, checkpoint, tmp_path):
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    predict_list(model, request_of(folder, tmp_path), checkpoint)
    samples = read_results(tmp_path)
    assert [int(sample['gt_label']) for sample in samples] == [n % 6 for n in range(10)]
    results = Results(samples)
    assert results.scores.shape == (10, 6)
    with pytest.raises(ValueError, match='holds no part'):
        read_parts(tmp_path / 'none')


def test_windows_of_long_videos(folder, checkpoint, tmp_path):
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    done = predict_list(model, request_of(folder, tmp_path, stride=1.0), checkpoint)
    assert done == (10, 1, 10)
    rows = parquet.read_table(tmp_path / 'part-000003.parquet').to_pylist()
    assert {row['index'] for row in rows} == {9}
    assert rows[0]['start_frame'] == 0
    assert rows[-1]['end_frame'] == 21
    assert all(len(row['scores']) == 6 for row in rows)
    with pytest.raises(ValueError, match='windows of long videos'):
        read_parts(tmp_path)


def test_folder_of_videos_keeps_its_order(folder, checkpoint, tmp_path):
    model = init_recognizer(tiny_config(), checkpoint, 'cpu')
    request = BulkRequest(str(folder), str(tmp_path), None, 4, 4, 0)
    assert predict_list(model, request, checkpoint) == (10, 1, 10)
    with pytest.raises(ValueError, match=r'0\.mp4 has no label'):
        read_parts(tmp_path)


@pytest.mark.slow
def test_two_thousand_clips_survive_two_kills(checkpoint, tmp_path):
    video = write_video(tmp_path / 'clip.mp4', num_frames=8, width=48, height=32)
    for number in range(2000):
        os.link(video, tmp_path / f'{number:04}.mp4')
    (tmp_path / '0777.mp4').unlink()
    (tmp_path / 'list.txt').write_text(''.join(f'{n:04}.mp4 {n % 6}\n' for n in range(2000)))
    context = multiprocessing.get_context('spawn')
    request = request_of(tmp_path, tmp_path / 'out', part_size=100, batch_size=16, workers=2)
    for wanted in (4, 12, None):
        child = context.Process(target=_predict, args=(request, checkpoint))
        child.start()
        while wanted is not None and len(parts_there(request.out)) < wanted:
            time.sleep(0.05)
        if wanted is not None:
            child.kill()
        child.join(900)
    assert check_parts(request.out, 2000) == (2000, 1)
    assert len(read_parts(request.out)) == 2000
