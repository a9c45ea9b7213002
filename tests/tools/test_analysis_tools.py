"""eval_metric, confusion_matrix, analyze_logs, browse_dataset: from arguments to what is shown."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmaction.evaluation.results import read_results, write_predictions, write_scores
from tests.video_factory import frame_number, write_video
from tools.analysis_tools import analyze_logs, browse_dataset, confusion_matrix, eval_metric

ROOT = Path(__file__).parents[2]
NAMES = ['run', 'jump', 'sit']
LABELS = [0, 0, 1, 1, 2, 2]
SCORES = np.array(
    [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.7, 0.2], [0.4, 0.5, 0.1], [0, 0, 1]]
)
# right: clips 0, 2, 3, 5; one 'run' and one 'sit' are taken for 'jump'


@pytest.fixture
def config(tmp_path):
    """A config whose test list has the labels above, and train clips of 24 frames."""
    data = tmp_path / 'data'
    data.mkdir()
    (data / 'classes.txt').write_text('\n'.join(NAMES) + '\n')
    write_video(data / 'clip.mp4', 24, 160, 80)
    (data / 'list.txt').write_text(''.join(f'clip.mp4 {label}\n' for label in LABELS))
    pipeline = [
        dict(type='DecordInit'),
        dict(type='SampleFrames', clip_len=4, frame_interval=2),
        dict(type='DecordDecode'),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]
    loader = dict(
        batch_size=1,
        num_workers=0,
        dataset=dict(
            type='VideoDataset', data_root=str(data), ann_file='list.txt', pipeline=pipeline
        ),
        sampler=dict(type='EpochSampler', shuffle=False),
    )
    cfg = Config(
        dict(
            default_scope='mmaction',
            train_dataloader=loader,
            test_dataloader=loader,
            test_evaluator=dict(
                type='AccMetric', metric_options=dict(top_k_accuracy=dict(topk=(1, 2)))
            ),
        )
    )
    cfg.dump(tmp_path / 'config.py')
    return tmp_path / 'config.py'


@pytest.fixture(params=['dump.pkl', 'dump.json'])
def dump(tmp_path, request):
    """What --dump writes."""
    samples = [
        dict(
            pred_score=torch.tensor(scores),
            pred_label=torch.tensor([int(scores.argmax())]),
            gt_label=torch.tensor([label]),
            sample_idx=i,
            img_shape=(8, 8),
            scale_factor=np.array([1.0, 2.0]),
        )
        for i, (scores, label) in enumerate(zip(SCORES, LABELS, strict=True))
    ]
    write_predictions(samples, tmp_path / request.param)
    return tmp_path / request.param


def run(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [module.__file__, *map(str, arguments)])
    module.main()


def fails(module, monkeypatch, capsys, *arguments):
    with pytest.raises(SystemExit):
        run(module, monkeypatch, *arguments)
    message = capsys.readouterr().err
    assert message.startswith('error: ')
    return message


def test_metrics_of_a_dump(config, dump, monkeypatch, capsys):
    run(eval_metric, monkeypatch, config, dump)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ['top1_acc: 0.6667', 'top2_acc: 0.8333', 'mean_class_accuracy: 0.6667']


def test_metrics_of_an_ensemble_leave_the_dump_of_the_config(config, dump, monkeypatch, capsys):
    cfg, kept = Config.fromfile(config), config.with_name('first_model.pkl')
    kept.write_bytes(b'kept')
    cfg.test_evaluator = [cfg.test_evaluator, dict(type='DumpResults', out_file_path=str(kept))]
    cfg.dump(config)
    run(eval_metric, monkeypatch, config, dump)
    assert 'top1_acc: 0.6667' in capsys.readouterr().out
    assert kept.read_bytes() == b'kept'


@pytest.mark.parametrize(
    ('evaluator', 'told'),
    [
        (dict(type='DumpResults', out_file_path='a.pkl'), 'DumpResults'),
        ([dict(type='ConfusionMatrix')], 'ConfusionMatrix'),
        (None, 'it is empty'),
    ],
)
def test_a_config_without_a_metric_is_refused(config, dump, monkeypatch, capsys, evaluator, told):
    cfg = Config.fromfile(config)
    cfg.test_evaluator = evaluator
    cfg.dump(config)
    message = fails(eval_metric, monkeypatch, capsys, config, dump)
    assert f'test_evaluator gives no number ({told})' in message
    assert "set it to dict(type='AccMetric')" in message


@pytest.mark.parametrize('ending', ['.pkl', '.json', '.yaml'])
def test_metrics_of_scores_alone(config, tmp_path, monkeypatch, capsys, ending):
    write_scores(list(SCORES), tmp_path / f'out{ending}')
    arguments = [
        '--eval',
        'top_k_accuracy',
        '--eval-options',
        'metric_options.top_k_accuracy.topk=3',
    ]
    run(eval_metric, monkeypatch, config, tmp_path / f'out{ending}')
    assert 'top1_acc: 0.6667' in capsys.readouterr().out
    run(eval_metric, monkeypatch, config, tmp_path / f'out{ending}', *arguments)
    assert capsys.readouterr().out.splitlines() == ['top3_acc: 1.0000']
    write_scores(list(SCORES[:4]), tmp_path / f'out{ending}')
    message = fails(eval_metric, monkeypatch, capsys, config, tmp_path / f'out{ending}')
    assert 'has 4 results, but the test list' in message


class Evil:
    def __reduce__(self):
        return print, ('run!',)


@pytest.mark.parametrize(
    ('name', 'content', 'text'),
    [
        ('a.pkl', pickle.dumps([Evil()]), 'it holds objects of builtins.print'),
        ('a.pkl', b'\x80', 'cannot be read as results'),
        ('a.pkl', pickle.dumps({}), 'holds no list of results'),
        ('a.pkl', pickle.dumps([dict(pred_score=1)]), 'clip 0 has no gt_label'),
        ('a.pkl', pickle.dumps([[1, 2], 'ab']), "clip 1 has no scores, but 'ab'"),
        ('a.json', b'[[1, 2], [1]]', r'clip 1 has scores of shape \(1,\), not \(2,\)'),
        ('a.json', b'[[[1, 2]]]', r'clip 0 has scores of shape \(1, 2\)'),
        ('a.json', b'[', 'cannot be read as results'),
        ('a.txt', b'', r'has to end in \.pkl, \.json or \.yaml'),
    ],
)
def test_invalid_result_files_are_errors(tmp_path, capsys, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=text):
        read_results(tmp_path / name)
    assert 'run!' not in capsys.readouterr().out


def test_missing_results():
    with pytest.raises(FileNotFoundError, match=r'there is no file of results nowhere\.pkl'):
        read_results('nowhere.pkl')


def test_confusion_matrix_and_its_pairs(config, dump, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'new' / 'matrix.png'
    run(confusion_matrix, monkeypatch, config, dump, '--out', out)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '4 of 6 clips right (66.7 %)'
    assert [line.strip() for line in lines[1:3]] == [
        '1 of 2  run taken for jump',
        '1 of 2  sit taken for jump',
    ]
    assert Image.open(out).size[0] > 300
    counts = np.asarray(Image.open(out).convert('RGB'))
    run(confusion_matrix, monkeypatch, config, dump, '--out', out, '--include-values')
    assert (np.asarray(Image.open(out).convert('RGB')) == counts).all()
    run(confusion_matrix, monkeypatch, config, dump, '--out', out, '--no-include-values')
    assert (np.asarray(Image.open(out).convert('RGB')) != counts).any()
    capsys.readouterr()
    labels = tmp_path / 'names.txt'
    labels.write_text('a\nb\nc\n')
    run(confusion_matrix, monkeypatch, config, dump, '--label-file', labels, '--pairs', 1)
    assert capsys.readouterr().out.splitlines()[1:] == ['    1 of 2  a taken for b']


@pytest.fixture
def run_dir(tmp_path):
    """The logs of a run of 2 epochs of 4 steps that was resumed after the first."""
    lines = [
        dict(lr=1.0, loss=4.0 - step, time=0.1 * step, data_time=0.01, epoch=(step + 3) // 4,
             iter=step, step=step)
        for step in range(1, 9)
    ]  # fmt: skip
    val = [{'acc/top1': 0.25, 'step': 1}, {'acc/top1': 0.5, 'step': 2}]
    stale = [{**lines[4], 'loss': 99.0}]
    for name, part in (('1', [*lines[:4], val[0], *stale]), ('2', [*lines[4:], val[1]])):
        folder = tmp_path / 'work' / name / 'vis_data'
        folder.mkdir(parents=True)
        (folder / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in part))
    return tmp_path / 'work'


def test_series_in_epochs_across_a_resume(run_dir):
    (run_of_two,) = analyze_logs.read_runs(str(run_dir))
    places, values, unit = analyze_logs.series(run_of_two, 'loss')
    assert places == [step / 4 for step in range(1, 9)]
    assert values == [4.0 - step for step in range(1, 9)]
    assert unit == 'epoch'
    assert analyze_logs.series(run_of_two, 'acc/top1') == ([1, 2], [0.25, 0.5], 'epoch')


def test_curves_of_several_runs(run_dir, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'new' / 'curve.png'
    single = run_dir / '2' / 'vis_data' / 'scalars.json'
    run(analyze_logs, monkeypatch, 'plot_curve', run_dir, single, '--out', out, '--title', 'Two')
    width, height = Image.open(out).size
    assert (width, height) == (1200, pytest.approx(810, abs=2))  # as Matplotlib rounds
    options = ['--keys', 'speed', '--out', out]
    message = fails(analyze_logs, monkeypatch, capsys, 'plot_curve', run_dir, *options)
    assert "has no 'speed' in its log (there are: acc/top1, data_time, loss, lr, time)" in message
    options = ['--legend', 'a', 'b', '--out', out]
    message = fails(analyze_logs, monkeypatch, capsys, 'plot_curve', run_dir, *options)
    assert '--legend has 2 names for 1 runs: work' in message


def test_runs_of_one_work_dir_are_drawn_apart(run_dir, tmp_path, monkeypatch, capsys):
    again = run_dir / '3' / 'vis_data'
    again.mkdir(parents=True)
    lines = [dict(lr=1.0, loss=9.0, time=0.5, epoch=1, iter=step, step=step) for step in (1, 2)]
    (again / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    first, second = analyze_logs.read_runs(str(run_dir))
    assert analyze_logs.series(first, 'loss')[1] == [4.0 - step for step in range(1, 9)]
    assert analyze_logs.series(second, 'loss')[1] == [9.0, 9.0]
    assert analyze_logs.short_names([first.name, second.name]) == ['work/1', 'work/3']
    out = tmp_path / 'curve.png'
    options = ['--keys', 'loss', '--out', out, '--legend', 'a']
    message = fails(analyze_logs, monkeypatch, capsys, 'plot_curve', run_dir, *options)
    assert '--legend has 1 names for 2 runs: work/1, work/3' in message
    run(analyze_logs, monkeypatch, 'plot_curve', run_dir, *options, 'b')
    assert out.exists()
    capsys.readouterr()
    run(analyze_logs, monkeypatch, 'cal_train_time', run_dir)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_names_of_runs_in_the_legend(run_dir, tmp_path):
    log = str(run_dir / '2' / 'vis_data' / 'scalars.json')
    other = str(tmp_path / 'other' / 'work')
    assert analyze_logs.short_names([str(run_dir)]) == ['work']
    assert analyze_logs.short_names([str(run_dir), log]) == ['work', 'work/2']
    assert analyze_logs.short_names([log, str(tmp_path / 'run.json')]) == ['work/2', 'run']
    names = analyze_logs.short_names([str(run_dir), other])
    assert names == [f'{tmp_path.name}/work', 'other/work']
    assert analyze_logs.short_names([log, log]) == ['work/2', 'work/2']


def test_time_per_iteration(run_dir):
    # without the first line of each epoch: 0.2, 0.3, 0.4 and 0.6, 0.7, 0.8
    (resumed,) = analyze_logs.read_runs(str(run_dir))
    text = analyze_logs.train_times(resumed, include_outliers=False)
    assert '0.500 s per iteration, 0.010 s of it' in text
    assert 'slowest epoch 2 (0.700 s), fastest epoch 1 (0.300 s)' in text
    assert '0.450 s per iteration' in analyze_logs.train_times(resumed, include_outliers=True)


def test_damaged_and_missing_logs(run_dir, tmp_path, monkeypatch, capsys):
    (run_dir / '2' / 'vis_data' / 'scalars.json').write_text('{}\n{"lr"\n')
    message = fails(analyze_logs, monkeypatch, capsys, 'cal_train_time', run_dir)
    assert 'scalars.json:2: expected JSON' in message
    message = fails(analyze_logs, monkeypatch, capsys, 'cal_train_time', tmp_path / 'none')
    assert 'there is no run' in message


def test_browse_dataset_shows_training_clips(config, tmp_path, monkeypatch, capsys):
    from mmaction.datasets import SampleKey
    from mmaction.registry import DATASETS

    out = tmp_path / 'sheet.png'
    shown = []
    monkeypatch.setattr(
        'mmaction.visualization.contact_sheet', lambda rows, *rest: shown.append((rows, *rest))
    )
    arguments = [config, '--out', out, '--show-number', 3, '--start', 1]
    run(browse_dataset, monkeypatch, *arguments, '--epoch', 2, '--seed', 5)
    ((rows, path, columns),) = shown
    assert (path, columns) == (str(out), 8)
    assert [name for name, _ in rows] == ['run', 'jump', 'jump']
    dataset = DATASETS.build(Config.fromfile(config).train_dataloader.dataset)
    for i, (_, frames) in enumerate(rows):
        clip = dataset[SampleKey(i + 1, 2, 5)]['inputs'][0].permute(1, 2, 3, 0).numpy()
        np.testing.assert_array_equal(frames, clip)
        first = frame_number(frames[0])
        assert [frame_number(frame) for frame in frames] == [first + 2 * k for k in range(4)]
    monkeypatch.undo()
    run(browse_dataset, monkeypatch, *arguments)
    assert 'DecordInit, SampleFrames, DecordDecode' in capsys.readouterr().out
    assert Image.open(out).size[0] > 600
    message = fails(browse_dataset, monkeypatch, capsys, *arguments, '--start', 9)
    assert '--start 9: the list has 6 clips' in message
    message = fails(browse_dataset, monkeypatch, capsys, *arguments, '--phase', 'val')
    assert 'has no val_dataloader' in message


def test_browse_dataset_shows_clips_of_each_class(config, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr('mmaction.visualization.contact_sheet', lambda rows, *_: shown.append(rows))
    # the list is sorted by class, two clips of each
    run(browse_dataset, monkeypatch, config, '--out', tmp_path / 'a.png', '--show-number', 5)
    assert [name for name, _ in shown[0]] == ['run', 'jump', 'sit', 'run', 'jump']


@pytest.mark.parametrize(
    ('wrapper', 'number', 'first'),
    [
        (dict(type='RepeatDataset', times=2), 12, [*NAMES, 'run']),
        (dict(type='ClassBalancedDataset', oversample_thr=0.1), 6, [*NAMES, 'run']),
        (dict(type='ConcatDataset'), 7, [*NAMES, *NAMES, 'sit']),
    ],
    ids=lambda value: value['type'] if isinstance(value, dict) else '',
)
def test_browse_dataset_looks_into_wrappers(
    config, wrapper, number, first, tmp_path, monkeypatch, capsys
):
    cfg = Config.fromfile(config)
    one = cfg.train_dataloader.dataset
    if wrapper['type'] == 'ConcatDataset':
        (Path(one.data_root) / 'more.txt').write_text('clip.mp4 2\n')
        wrapper = dict(wrapper, datasets=[one, dict(one, ann_file='more.txt')])
    else:
        wrapper = dict(wrapper, dataset=one)
    cfg.train_dataloader.dataset = wrapper
    cfg.dump(config)
    shown = []
    monkeypatch.setattr('mmaction.visualization.contact_sheet', lambda rows, *_: shown.append(rows))
    count = str(len(first))
    run(browse_dataset, monkeypatch, config, '--out', tmp_path / 'a.png', '--show-number', count)
    assert [name for name, _ in shown[0]] == first
    out = capsys.readouterr().out
    assert f'shown: {count} of {number} clips' in out
    assert '6 clips: DecordInit, SampleFrames' in out


@pytest.mark.parametrize(
    'name', ['eval_metric', 'confusion_matrix', 'analyze_logs', 'browse_dataset']
)
def test_help_imports_nothing_heavy(name):
    code = (
        f'import sys; sys.argv = ["x", "--help"]\nfrom tools.analysis_tools import {name} as m\n'
        'try: m.main()\nexcept SystemExit: pass\n'
        'assert not {"torch", "numpy", "mmengine"} & set(sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'usage' in done.stdout
