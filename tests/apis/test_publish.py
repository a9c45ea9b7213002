"""Publishing a run: files, card, and the way back, by a folder and over a local server."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip('huggingface_hub')

from huggingface_hub import ModelCard

from mmaction.apis import ActionRecogInferencer, init_recognizer
from mmaction.apis.publish import prepare, publish
from mmaction.cli.main import main
from mmaction.config.load import load_config
from mmaction.engine.runner.checkpoint import save_checkpoint_file
from mmaction.errors import CheckpointError, ConfigError
from mmaction.utils.io import file_digest
from tests.apis.conftest import tiny_config
from tests.hub_server import hub

NAMES = ['run', 'jump', 'sit', 'stand', 'walk', 'wave: a "hand"']


@pytest.fixture
def run(tmp_path):
    """A work dir: a config, the last and the best checkpoint, metrics of the best."""
    cfg = tiny_config()
    dataset = dict(type='VideoDataset', data_root='data/hmdb51', ann_file='train.txt')
    cfg.train_dataloader = dict(dataset={**dataset, 'pipeline': cfg.test_pipeline})
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    (work_dir / 'tiny.py').write_text(cfg.pretty_text)
    for name in ('epoch_2.pth', 'best_acc_epoch_1.pth'):
        model = init_recognizer(tiny_config(), device='cpu')
        meta = dict(epoch=1, iter=20, dataset_meta=dict(classes=NAMES))
        save_checkpoint_file(dict(state_dict=model.state_dict(), meta=meta), work_dir / name)
    best = work_dir / 'best_acc_epoch_1.pth'
    facts = dict(checkpoint=str(best), checkpoint_sha256=file_digest(best), config='tiny.py')
    (work_dir / 'metrics.json').write_text(json.dumps(dict(top1_acc=0.5, clips=8, **facts)))
    return work_dir


def predictions(inferencer, array):
    return inferencer(array)['predictions'][0]


def test_folder_round_trip(run, tmp_path, array):
    publication = prepare(run, license='apache-2.0', base_model='org/base')
    out = tmp_path / 'published'
    assert publish(publication, out) == str(out)
    assert {p.name for p in out.iterdir()} == {'config.json', 'model.safetensors', 'README.md'}
    best = run / 'best_acc_epoch_1.pth'
    expected = predictions(ActionRecogInferencer(run / 'tiny.py', best, 'cpu'), array)
    again = ActionRecogInferencer.from_pretrained(out, device='cpu')
    assert predictions(again, array) == expected
    assert again.classes == NAMES
    # all views of the test pipeline too: the config is the same
    assert load_config(out / 'config.json').test_pipeline[1]['num_clips'] == 2
    publish(publication, out)  # over itself
    (out / 'notes.txt').touch()
    with pytest.raises(ConfigError, match=r'holds other files, such as notes\.txt'):
        publish(publication, out)


def test_card_reads_back_unchanged(run, tmp_path):
    publish(prepare(run, license='apache-2.0', base_model='org/base'), tmp_path / 'out')
    card = ModelCard.load(tmp_path / 'out' / 'README.md')
    facts = card.data.to_dict()
    assert facts['license'] == 'apache-2.0'
    assert facts['library_name'] == 'mmaction'
    assert facts['pipeline_tag'] == 'video-classification'
    assert facts['base_model'] == 'org/base'
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_name, result.metric_value) == (
        'hmdb51',
        'top1_acc',
        0.5,
    )
    assert ModelCard(str(card)).data.to_dict() == facts
    assert str(ModelCard(str(card))) == str(card)
    for text in ('- top1_acc: 0.5000 (`mmaction test tiny.py CHECKPOINT`)', ', '.join(NAMES)):
        assert text in card.text


def test_hub_round_trip(run, tmp_path, array, monkeypatch):
    with hub(tmp_path / 'served', monkeypatch, tmp_path / 'cache'):
        url = publish(prepare(run), 'hf://org/repo')
        assert '/org/repo/commit/' in url
        again = ActionRecogInferencer.from_pretrained('hf://org/repo', device='cpu')
        best = run / 'best_acc_epoch_1.pth'
        inferencer = ActionRecogInferencer(run / 'tiny.py', best, 'cpu')
        assert predictions(again, array) == predictions(inferencer, array)
        model = init_recognizer(run / 'tiny.py', 'hf://org/repo', 'cpu')
        torch.testing.assert_close(model.state_dict(), inferencer.model.state_dict())
        with pytest.raises(ConfigError, match='names a file'):
            publish(prepare(run), 'hf://org/repo:x.json')


def test_dry_run_writes_nothing(run, tmp_path, capsys):
    assert main(['publish', str(run), '--to', str(tmp_path / 'out')]) == 0
    assert not (tmp_path / 'out').exists()
    shown = capsys.readouterr().out
    assert 'model.safetensors' in shown
    assert 'pipeline_tag: video-classification' in shown
    assert 'dry run' in shown
    main(['publish', str(run), '--to', str(tmp_path / 'out'), '--yes'])
    assert (tmp_path / 'out' / 'config.json').is_file()


def test_lora_is_merged(run, tmp_path, array):
    pytest.importorskip('peft')
    cfg = load_config(run / 'tiny.py')
    cfg.model.backbone.lora = dict(r=2, base=str(run / 'epoch_2.pth'))
    model = init_recognizer(cfg, device='cpu')
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if 'lora_B' in name:
                weight.normal_(std=0.3)
    lora = tmp_path / 'lora'
    lora.mkdir()
    (lora / 'lora.py').write_text(cfg.pretty_text)
    save_checkpoint_file(dict(state_dict=model.state_dict()), lora / 'lora.pth')
    publish(prepare(lora / 'lora.pth'), tmp_path / 'out')
    published = load_config(tmp_path / 'out' / 'config.json')
    assert 'lora' not in published.model.backbone
    again = ActionRecogInferencer.from_pretrained(tmp_path / 'out', device='cpu')
    scores = [predictions(i, array)['pred_scores'] for i in (again, ActionRecogInferencer(model))]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-6)


def test_metrics_of_another_checkpoint_are_left_out_and_said(run):
    assert prepare(run).notes == ()
    last = prepare(run / 'epoch_2.pth', config=run / 'tiny.py')
    assert 'no metrics: ' in last.notes[0]
    assert 'best_acc_epoch_1.pth, which is not' in last.notes[0]
    assert 'Not measured.' in last.files['README.md'].decode()
    (run / 'metrics.json').unlink()
    (note,) = prepare(run).notes
    assert f'"mmaction test CONFIG CHECKPOINT --work-dir {run}" writes one' in note


def test_folder_of_finetune_is_its_tested_weights_and_their_metrics(run, tmp_path):
    """Where `mmaction finetune` puts model.pth above the folder of its run."""
    work = tmp_path / 'finetune'
    work.mkdir()
    run.rename(work / 'run')
    (work / 'run' / 'tiny.py').rename(work / 'config.py')
    (work / 'model.pth').write_bytes((work / 'run' / 'best_acc_epoch_1.pth').read_bytes())
    made = prepare(work)
    assert made.notes == ()
    assert 'Not measured.' not in made.files['README.md'].decode()


def test_what_cannot_be_published(run, tmp_path):
    with pytest.raises(CheckpointError, match='there is no run'):
        prepare(tmp_path / 'none')
    with pytest.raises(CheckpointError, match='holds no checkpoint'):
        prepare(tmp_path)
    (run / 'other.py').write_text('x = 1')
    with pytest.raises(ConfigError, match='holds 2 configs: give it with --config'):
        prepare(run)
    with pytest.raises(ValueError, match='was measured with'):
        prepare(run / 'epoch_2.pth', config=run / 'tiny.py', metrics=run / 'metrics.json')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match=r'no published model: it holds no config\.json'):
        ActionRecogInferencer.from_pretrained(tmp_path / 'empty')


def test_transformers_backbone_needs_no_folder_once_published(tmp_path, array):
    pytest.importorskip('transformers')
    import shutil

    from tests.tiny_transformers import save

    folder = tmp_path / 'model'
    save('videomae', folder)
    cfg = tiny_config()
    cfg.model.backbone = dict(type=f'transformers.{folder}')
    cfg.model.cls_head.in_channels = 24
    work_dir = tmp_path / 'run'
    work_dir.mkdir()
    del cfg.model.data_preprocessor  # which the model's own processor fills in
    (work_dir / 'x.py').write_text(cfg.pretty_text)
    model = init_recognizer(work_dir / 'x.py', None, 'cpu')
    save_checkpoint_file(dict(state_dict=model.state_dict()), work_dir / 'epoch_1.pth')
    expected = predictions(ActionRecogInferencer(model), array)
    publish(prepare(work_dir), tmp_path / 'out')
    shutil.rmtree(folder)
    again = ActionRecogInferencer.from_pretrained(tmp_path / 'out', device='cpu')
    assert predictions(again, array) == expected
    card = (tmp_path / 'out' / 'README.md').read_text()
    assert 'transformers.videomae with I3DHead' in card
    for file in (tmp_path / 'out').iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()  # no paths of this machine
