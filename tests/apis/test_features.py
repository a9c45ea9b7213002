"""Features of a list in a folder: values, keys, resuming, reading, and those of single videos."""

import json

import numpy as np
import pytest
import torch

from mmaction.apis import ActionRecogInferencer, init_recognizer
from mmaction.apis.features import clip_features, extract_features
from mmaction.apis.inference import load_clip
from mmaction.apis.probe import probe_recognizer
from mmaction.cli.features import main as features
from mmaction.config.load import load_config
from mmaction.data_preparation.packing import PackRequest, pack_list
from mmaction.data_preparation.shares import merge_shares
from mmaction.datasets import FeatureDataset, FeatureStore, clip_identity, load_features
from mmaction.engine.runner.checkpoint import save_checkpoint_file
from mmaction.errors import ConfigError
from mmaction.models import LinearHead
from mmaction.registry import MODELS
from mmaction.utils.io import write_bytes
from mmaction.utils.work_share import WorkShare
from tests.apis.conftest import tiny_config
from tests.processes import Forked
from tests.video_factory import write_broken, write_video


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    """A folder with a list of five clips, and a checkpoint."""
    folder = tmp_path_factory.mktemp('clips')
    for i in range(5):
        write_video(folder / f'{i}.mp4', 12 + i, 64, 48)
    (folder / 'list.txt').write_text(''.join(f'{i}.mp4 {i % 3}\n' for i in range(5)))
    (folder / 'classes.txt').write_text('a\nb\nc\n')
    torch.manual_seed(3)
    model = init_recognizer(config(folder), device='cpu')
    save_checkpoint_file(dict(state_dict=model.state_dict()), folder / 'x.pth')
    return folder


def config(folder, **changes):
    cfg = tiny_config(**changes)
    dataset = dict(
        type='VideoDataset',
        data_root=str(folder),
        ann_file='list.txt',
        pipeline=cfg.test_pipeline,
    )
    loader = dict(batch_size=2, num_workers=0, dataset=dataset)
    cfg.merge_from_dict(dict(test_dataloader=loader, val_dataloader=loader))
    return cfg


def test_stored_features_are_those_of_the_backbone(clips, tmp_path):
    cfg = config(clips)
    done = extract_features(cfg, clips / 'x.pth', tmp_path / 'f', device='cpu')
    assert done == dict(clips=5, computed=5, kept=0, missing=[])
    features, labels, about = load_features(tmp_path / 'f')
    assert labels.tolist() == [0, 1, 2, 0, 1]
    assert about['classes'] == ['a', 'b', 'c']
    model = init_recognizer(cfg, clips / 'x.pth', device='cpu')
    steps = [dict(step) for step in cfg.test_pipeline]
    steps[1]['num_clips'] = 1
    steps[4] = dict(type='CenterCrop', crop_size=32)
    for i in range(5):
        inputs = load_clip(model, clips / f'{i}.mp4', steps)['inputs']
        with torch.no_grad():
            expected = model.backbone((inputs.float() - 120) / 60).mean((2, 3, 4))[0]
        torch.testing.assert_close(features[i], expected, rtol=1e-5, atol=1e-5)
    # and the inferencer's of one video, or a list
    inferencer = ActionRecogInferencer(model)
    one = inferencer.extract(clips / '1.mp4')
    np.testing.assert_allclose(one, features[1].numpy(), rtol=1e-5, atol=1e-5)
    both = inferencer.extract([clips / '1.mp4', clips / '2.mp4'], 'tokens', batch_size=2)
    assert both[0].shape == (24, 2, 4, 4)
    np.testing.assert_allclose(both[1].mean((1, 2, 3)), features[2].numpy(), rtol=1e-5, atol=1e-5)


def test_all_views_are_averaged_and_tokens_are_of_one(clips, tmp_path):
    cfg = config(clips)
    extract_features(cfg, clips / 'x.pth', tmp_path / 'f', all_views=True, device='cpu')
    model = init_recognizer(cfg, clips / 'x.pth', device='cpu')
    clip = load_clip(model, clips / '0.mp4')
    torch.testing.assert_close(load_features(tmp_path / 'f')[0][:1], clip_features(model, [clip]))
    with pytest.raises(ValueError, match='6 views of a video'):
        clip_features(model, [clip], 'tokens')
    extract_features(cfg, clips / 'x.pth', tmp_path / 't', kind='tokens', half=True, device='cpu')
    maps = load_features(tmp_path / 't')[0]
    assert maps.shape == (5, 24, 2, 4, 4)
    assert maps.dtype == torch.float16


def test_a_second_run_computes_what_is_missing_or_has_changed(clips, tmp_path):
    out = tmp_path / 'f'
    for i in range(3):
        write_video(tmp_path / f'{i}.mp4', 12, 64, 48)
    (tmp_path / 'list.txt').write_text('0.mp4 0\n1.mp4 1\n')
    cfg = config(tmp_path)
    run = lambda: extract_features(cfg, clips / 'x.pth', out, device='cpu')  # noqa: E731
    assert run()['computed'] == 2
    first = load_features(out)[0]
    (out / 'index.json').unlink()  # as if killed
    with pytest.raises(ConfigError, match='not complete'):
        load_features(out)
    assert run()['computed'] == 0
    torch.testing.assert_close(load_features(out)[0], first, rtol=0, atol=0)
    # a longer list, other labels, and a clip with another content
    (tmp_path / 'list.txt').write_text('2.mp4 2\n1.mp4 0\n0.mp4 0\n')
    write_video(tmp_path / '0.mp4', 20, 64, 48)
    assert run() == dict(clips=3, computed=2, kept=1, missing=[])
    features, labels, _ = load_features(out)
    assert labels.tolist() == [2, 0, 0]
    torch.testing.assert_close(features[1], first[1], rtol=0, atol=0)
    assert not torch.equal(features[2], first[0])


def test_identity_of_a_clip_changes_with_its_content(tmp_path):
    file, frames = tmp_path / 'a.mp4', tmp_path / 'frames'
    frames.mkdir()

    def identities(end):
        file.write_bytes(bytes(200_000) + end)
        (frames / 'img_00001.jpg').write_bytes(end.rstrip(b'.'))
        return clip_identity(file), clip_identity(frames)

    first, second = identities(b'one'), identities(b'2..')
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert identities(b'one') == first
    assert clip_identity(tmp_path / 'none.mp4') == ''


def test_an_extraction_that_ends_early_leaves_no_index_of_the_one_before(clips, tmp_path):
    out = tmp_path / 'f'
    cfg = config(clips)
    extract_features(cfg, clips / 'x.pth', out, device='cpu')
    model = init_recognizer(cfg, clips / 'x.pth', 'cpu')
    model.backbone.register_forward_pre_hook(lambda *_: 1 / 0)
    (tmp_path / 'list.txt').write_text(f'{write_video(tmp_path / "new.mp4", 12, 64, 48)} 0\n')
    with pytest.raises(ZeroDivisionError):
        extract_features(
            cfg, None, out, ann_file=str(tmp_path / 'list.txt'), device='cpu', model=model
        )
    with pytest.raises(ConfigError, match='not complete'):
        load_features(out)


def test_a_folder_belongs_to_one_set_of_facts(tmp_path):
    FeatureStore(tmp_path, dict(kind='pooled'))
    for facts in (dict(kind='tokens'), dict(kind='pooled', dtype='float16'), {}):
        with pytest.raises(ConfigError, match='features of another'):
            FeatureStore(tmp_path, facts)
    assert FeatureStore(tmp_path, None).facts == dict(kind='pooled')


def test_other_weights_or_pipeline_are_refused(clips, tmp_path):
    out = tmp_path / 'f'
    extract_features(config(clips), clips / 'x.pth', out, device='cpu')
    with pytest.raises(ConfigError, match=r'features of another weights than these'):
        extract_features(config(clips), None, out, device='cpu')
    cfg = config(clips)
    cfg.test_pipeline[1]['frame_interval'] = 1
    with pytest.raises(ConfigError, match=r'features of another pipeline than these'):
        extract_features(cfg, clips / 'x.pth', out, device='cpu')
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'x').touch()
    with pytest.raises(ConfigError, match='no folder of features and not empty'):
        extract_features(cfg, clips / 'x.pth', tmp_path / 'other', device='cpu')


def test_unreadable_clips_are_listed_and_have_no_features(clips, tmp_path):
    write_video(tmp_path / '0.mp4', 12, 64, 48)
    write_broken(tmp_path / '1.mp4', 'truncated')
    (tmp_path / 'list.txt').write_text('0.mp4 0\n1.mp4 1\nnone.mp4 1\n')
    done = extract_features(config(tmp_path), clips / 'x.pth', tmp_path / 'f', device='cpu')
    assert done['missing'] == [str(tmp_path / '1.mp4'), str(tmp_path / 'none.mp4')]
    features, labels, _ = load_features(tmp_path / 'f')
    assert len(features) == 1
    assert labels.tolist() == [0]
    assert json.loads((tmp_path / 'f' / 'index.json').read_text())['missing'] == done['missing']


def test_shares_become_the_features_of_the_whole_list(clips, tmp_path):
    cfg, out = config(clips), tmp_path / 'shares'
    for index in (1, 0, 2):
        share = WorkShare(index, 3)
        done = extract_features(cfg, clips / 'x.pth', out, device='cpu', share=share)
        assert done['clips'] == done['computed'] == len(share.of(range(5)))
        with pytest.raises(ConfigError, match=r'not complete.*"mmaction merge '):
            load_features(out)
        if index != 2:
            with pytest.raises(ValueError, match='shares of features are not done'):
                merge_shares(out)
    assert merge_shares(out) == ['features: 5 items in 3 shares, 0 failed']
    extract_features(cfg, clips / 'x.pth', tmp_path / 'whole', device='cpu')
    shared, whole = load_features(out), load_features(tmp_path / 'whole')
    torch.testing.assert_close(shared[0], whole[0], rtol=1e-5, atol=1e-5)
    assert shared[1].tolist() == whole[1].tolist()
    assert shared[2]['names'] == whole[2]['names']
    assert shared[2]['classes'] == ['a', 'b', 'c']
    # A share that is run again has nothing to do, and the index is written again.
    again = extract_features(cfg, clips / 'x.pth', out, device='cpu', share=WorkShare(0, 3))
    assert (again['computed'], again['kept']) == (0, 2)
    assert merge_shares(out)
    torch.testing.assert_close(load_features(out)[0], shared[0], rtol=0, atol=0)


def test_features_of_remote_clips_in_a_remote_folder(clips, tmp_path):
    pytest.importorskip('fsspec')
    store = 'memory://features'
    for path in clips.iterdir():
        write_bytes(f'{store}/{path.name}', path.read_bytes())
    cfg = config(clips)
    cfg.test_dataloader.dataset.update(data_root=store, ann_file='list.txt')
    run = lambda: extract_features(cfg, f'{store}/x.pth', f'{store}/out', device='cpu')  # noqa: E731
    assert run() == dict(clips=5, computed=5, kept=0, missing=[])
    assert run() == dict(clips=5, computed=0, kept=5, missing=[])
    extract_features(config(clips), clips / 'x.pth', tmp_path / 'f', device='cpu')
    features, labels, _ = load_features(f'{store}/out')
    torch.testing.assert_close(features, load_features(tmp_path / 'f')[0], rtol=0, atol=0)
    assert labels.tolist() == [0, 1, 2, 0, 1]
    # Packed, the same clips are told apart by their place.
    assert pack_list(PackRequest(f'{store}/list.txt', str(tmp_path / 'packed'))) == 0
    cfg.test_dataloader.dataset = dict(
        type='ShardDataset', ann_file=str(tmp_path / 'packed'), pipeline=cfg.test_pipeline
    )
    extract_features(cfg, clips / 'x.pth', tmp_path / 'p', device='cpu')
    torch.testing.assert_close(load_features(tmp_path / 'p')[0], features, rtol=0, atol=0)


def test_stored_features_train_a_head(clips, tmp_path):
    extract_features(config(clips), clips / 'x.pth', tmp_path / 'f', device='cpu')
    dataset = FeatureDataset(str(tmp_path / 'f'))
    assert dataset.metainfo['classes'] == ['a', 'b', 'c']
    assert dataset.get_cat_ids(2) == [2]
    samples = [dataset[i]['data_samples'] for i in range(5)]
    assert [sample.sample_idx for sample in samples] == list(range(5))
    assert [sample.filename for sample in samples] == [str(clips / f'{i}.mp4') for i in range(5)]
    model = MODELS.build(
        dict(
            type='Recognizer3D',
            backbone=dict(type='StoredFeatures'),
            cls_head=dict(type='LinearHead', num_classes=3, in_channels=24),
        )
    )
    items = [dataset[i] for i in range(5)]
    batch = model.data_preprocessor(
        dict(inputs=[i['inputs'] for i in items], data_samples=[i['data_samples'] for i in items])
    )
    assert batch['inputs'].shape == (5, 1, 24, 1, 1, 1)
    model(**batch, mode='loss')['loss_cls'].backward()
    assert model.cls_head.fc_cls.weight.grad.abs().sum() > 0
    with torch.no_grad():
        logits = model(batch['inputs'], mode='tensor', stage='head')
        torch.testing.assert_close(logits, model.cls_head.fc_cls(dataset.features))


@pytest.mark.dist
def test_two_processes_share_the_clips(clips, tmp_path):
    cfg = config(clips)
    (tmp_path / 'x.py').write_text(cfg.pretty_text)
    command = [str(tmp_path / 'x.py'), str(clips / 'x.pth'), '--out', str(tmp_path / 'f')]
    command += ['--launcher', 'pytorch']
    done = Forked(features, (command,), tmp_path / 'output.txt', 2)
    done.check()
    assert 'features of 5 of 5 clips' in done.output.read_text()
    shards = list((tmp_path / 'f').glob('*.npz'))
    assert len(shards) == 2
    extract_features(cfg, clips / 'x.pth', tmp_path / 'one', device='cpu')
    one, both = load_features(tmp_path / 'one'), load_features(tmp_path / 'f')
    torch.testing.assert_close(one[:2], both[:2], rtol=1e-5, atol=1e-5)


def test_probe_writes_the_recognizer_with_the_best_head(clips, tmp_path):
    cfg = config(clips)
    cfg.train_dataloader = cfg.val_dataloader
    cfg.work_dir = str(tmp_path / 'recognizer')
    probe = dict(kind='linear', lrs=[1e-2, 1e-1], weight_decays=[0.0], epochs=5)
    result = probe_recognizer(cfg, clips / 'x.pth', probe, tmp_path, device='cpu')
    model = init_recognizer(tmp_path / 'linear.py', tmp_path / 'linear.pth', device='cpu')
    features, labels, _ = load_features(tmp_path / 'features_pooled_val')
    assert isinstance(model.cls_head, LinearHead)
    with torch.no_grad():
        accuracy = (model.cls_head(features).argmax(1) == labels).double().mean().item()
    assert accuracy == result.points[0]['accuracy']
    backbone = init_recognizer(cfg, clips / 'x.pth', device='cpu').backbone.state_dict()
    assert all(torch.equal(model.backbone.state_dict()[name], backbone[name]) for name in backbone)
    assert load_config(tmp_path / 'linear.py').work_dir == str(tmp_path / 'linear')


def test_probe_without_a_validation_list_is_refused_before_features_are_computed(clips, tmp_path):
    cfg = config(clips)
    cfg.train_dataloader, cfg.val_dataloader = cfg.val_dataloader, None
    with pytest.raises(ConfigError, match=r'val_dataloader\.dataset: there is no list of clips'):
        probe_recognizer(cfg, clips / 'x.pth', dict(kind='knn'), tmp_path, device='cpu')
    assert list(tmp_path.iterdir()) == []
