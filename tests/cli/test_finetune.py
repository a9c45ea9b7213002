"""`mmaction finetune` from a folder to the report: tiny here, in earnest among the slow tests."""

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmaction.apis import publish
from mmaction.cli import finetune
from mmaction.cli.main import main
from mmaction.data_preparation import motion_digits
from mmaction.utils.io import file_digest

ROOT = Path(__file__).parents[2]
LABELS = (0, 6, 7)


def write_clips(folder, per_class, labels=LABELS, split='train'):
    """Motion Digits with a folder for each class."""
    made = dict.fromkeys(labels, 0)
    index = 0
    while min(made.values()) < per_class:
        if index % 8 in labels and made[index % 8] < per_class:
            frames, label = motion_digits.make_clip(0, split, index)
            path = folder / motion_digits.CLASSES[label] / f'{index:04d}.mp4'
            path.parent.mkdir(parents=True, exist_ok=True)
            motion_digits.write_video(path, frames)
            made[label] += 1
        index += 1
    return folder


def run(capsys, *words):
    """Exit status and output of a command, in this process."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


@pytest.fixture(scope='module')
def clips(tmp_path_factory):
    folder = write_clips(tmp_path_factory.mktemp('own') / 'my clips', 5)
    (folder / 'growing' / 'broken.mov').write_bytes(b'nothing')
    frames, _ = motion_digits.make_clip(0, 'train', 0)
    motion_digits.write_video(folder / 'moving left' / '0000.mp4', frames[:5])
    return folder


@pytest.fixture(scope='module')
def trained(clips, tmp_path_factory):
    """What a whole run leaves, and what it said."""
    work = tmp_path_factory.mktemp('work') / 'my run'
    command = ['finetune', clips, '--work-dir', work, '--epochs', '1', '--seed', '3']
    out, err, threads = io.StringIO(), io.StringIO(), torch.get_num_threads()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main([str(word) for word in command]) == 0
    torch.set_num_threads(threads)
    return work, out.getvalue(), err.getvalue()


def test_it_says_what_it_does_and_where_the_results_are(trained):
    work, out, err = trained
    for number, title in enumerate(('videos', 'lists', 'model', 'training', 'results'), start=1):
        assert f'== {number}/5 {title}' in out
    assert '15 of 16 videos are used, 1 broken one left out' in out
    assert 'growing/broken.mov: ' in err
    assert 'fewer than 10 clips to train on: ' in err
    assert 'only 3 clips to test on' in err
    assert (
        '1 of 15 videos have fewer than the 8 frames that a clip of the model spans, the '
        'shortest 5: their frames repeat in it\n'
    ) in err
    assert 'from random weights' in out
    before, _, after = out.partition('Epoch(val)')
    assert re.search(r'time:  about \d+ s, until', before)
    assert re.search(r'memory: about [\d.]+ GB', before)
    assert re.search(r'top-1 accuracy [\d.]+ % of 3 clips \(95 % interval [\d.]+ to', after)
    for path in re.findall(r'^  (?:report|model|config|figures|saliency) +(.+)$', after, re.M):
        assert Path(path).exists()
    # to paste, though the path has a space
    assert f"mmaction predict VIDEO --run '{work}'\n" in after
    assert f"mmaction train '{work / 'config.py'}' --work-dir" in after
    named = ' '.join(f"'{work / name}'" for name in ('config.py', 'model.pth', 'model.onnx'))
    assert f'mmaction export {named}\n' in after
    assert f"mmaction train '{work / 'config.py'}'" in (work / 'config.py').read_text()


def test_results_are_whole(trained):
    work, _, _ = trained
    summary = json.loads((work / 'summary.json').read_text())
    metrics = json.loads((work / 'run' / 'metrics.json').read_text())
    assert summary['top1_acc'] == pytest.approx(metrics['top1_acc'])
    assert summary['clips'] == metrics['clips'] == 3
    assert metrics['checkpoint_sha256'] == file_digest(work / 'model.pth')
    assert publish.prepare(work).notes == ()  # its card has the metrics
    page = (work / 'report.html').read_text()
    assert '95 % interval' in page
    assert page.count('data:image/gif') == len(list((work / 'saliency').glob('*.gif'))) > 0
    assert 'only 3 clips to test on' in page
    assert (work / 'left_out.txt').read_text().startswith('growing/broken.mov\t')


def test_its_weights_predict(trained, tmp_path, capsys):
    work, _, _ = trained
    target = tmp_path / 'p.json'
    status, out, _ = run(
        capsys, 'predict', work / 'videos' / 'growing', '--run', work, '--out', target
    )
    assert out.startswith(f'{work / "model.pth"}, of ')  # the weights that were tested
    assert status == 0
    rows = json.loads(target.read_text())
    assert len(rows) == 5
    assert {name for name, _ in rows[0]['classes']} == {motion_digits.CLASSES[i] for i in LABELS}


def test_its_config_is_tested_beside_it(trained, tmp_path, monkeypatch, capsys):
    work, _, _ = trained
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / 'elsewhere'
    shutil.copytree(work, copy)
    status, out, _ = run(capsys, 'test', copy / 'config.py', copy / 'model.pth')
    assert status == 0
    assert f'metrics: {copy / "config" / "metrics.json"}' in out
    assert not (tmp_path / 'work_dirs').exists()


def test_again_nothing_is_done_again(trained, clips, capsys):
    work, _, _ = trained
    weights = (work / 'model.pth').read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in work.rglob('*.mp4')}
    status, out, _ = run(
        capsys, 'finetune', clips, '--work-dir', work, '--epochs', '1', '--seed', '3'
    )
    assert status == 0
    assert 'is done already' in out
    assert 'Epoch(train)' not in out
    assert stamps == {path: path.stat().st_mtime_ns for path in work.rglob('*.mp4')}
    assert weights == (work / 'model.pth').read_bytes()


def test_other_options_need_another_work_dir_or_overwrite(trained, clips, tmp_path, capsys):
    work, _, _ = trained
    copy = tmp_path / 'w'
    shutil.copytree(work, copy)
    words = ('finetune', clips, '--work-dir', copy, '--epochs', '2', '--seed', '3')
    status, _, err = run(capsys, *words)
    assert status == 1
    assert (
        'holds results with --epochs 1, but this call is with --epochs 2: repeat the first call'
        in err
    )
    assert err.count('\n') == 1
    shutil.copytree(clips, tmp_path / 'other')
    status, _, err = run(capsys, 'finetune', tmp_path / 'other', '--work-dir', tmp_path)
    assert 'holds other things: give another --work-dir' in err


def test_a_changed_folder_is_noticed(trained, clips, tmp_path, capsys):
    work, _, _ = trained
    copy = tmp_path / 'w'
    shutil.copytree(work, copy)
    more = clips / 'growing' / 'more.mp4'
    shutil.copyfile(next((clips / 'shrinking').iterdir()), more)
    status, _, err = run(
        capsys, 'finetune', clips, '--work-dir', copy, '--epochs', '1', '--seed', '3'
    )
    more.unlink()
    assert status == 1
    assert 'exists and lists other clips or labels: add --overwrite' in err


MISTAKES = {
    '': 'give a folder or table of clips, or --demo',
    'x --demo': 'give a folder or table of clips, or --demo without one',
    'x --folds 0': '--folds 0 must be at least 1',
    'x --test 0.9 --val 0.2': '--val 0.2 and --test 0.9 must leave some clips to train on',
    'x --test 0': '--test 0 must be above 0 and below 1: a part of all clips',
    'x --test 20': '--test 20 must be above 0 and below 1: a part of all clips',
    'x --val -0.1': '--val -0.1 must be at least 0 and below 1: a part of all clips',
    'x --epoch 3 --modle pico': 'there is no option --modle; did you mean "--model"?',
}


@pytest.mark.parametrize('line', MISTAKES)
def test_mistakes_are_one_sentence(capsys, line):
    status, _, err = run(capsys, 'finetune', *line.split())
    assert status == 2
    assert err.startswith(f'error: {MISTAKES[line]}')
    assert err.count('\n') == 1


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (('run;jump', 'run', 'jump'), "clips.csv:2: 'run;jump' looks like several labels"),
        (('run | jump', 'run|turn', 'jump'), "clips.csv:2: 'run | jump' looks like several labels"),
        (('"one\ntwo"', 'x;y', 'z'), 'does not fit on a line'),
        (('jump;', 'x;y', 'z'), None),
    ],
)
def test_faulty_labels_are_found_before_videos_are_read(tmp_path, capsys, labels, message):
    rows = [f'{number}.mp4,{label}' for number, label in enumerate(labels)]
    (tmp_path / 'clips.csv').write_text('\n'.join(['path,label', *rows]))
    for number in range(len(labels)):
        (tmp_path / f'{number}.mp4').touch()
    work = tmp_path / 'w'
    status, _, err = run(capsys, 'finetune', tmp_path / 'clips.csv', '--work-dir', work)
    assert status == 1
    assert (message or 'the file is empty') in err  # what reading it says
    assert message is None or not (work / 'videos').exists()


def test_names_of_no_list_are_found_before_videos_are_read(clips, tmp_path, capsys):
    broken = tmp_path / 'clips'
    shutil.copytree(clips, broken)
    video = next((broken / 'growing').glob('*.mp4'))
    video.rename(video.with_name('a\nb.mp4'))
    status, _, err = run(capsys, 'finetune', broken, '--work-dir', tmp_path / 'work')
    assert status == 1
    assert r"error: 'growing/a\nb.mp4' cannot stand in a list: rename it" in err
    assert not (tmp_path / 'work' / 'videos').exists()


def test_groups_and_copies_stay_together(clips, tmp_path):
    first, second, third = sorted(clips.glob('*/*.mp4'))[:3]
    for path, source in {'a/1x': first, 'a/1y': second, 'b/2': third, 'b/3': third}.items():
        (tmp_path / 'in' / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / 'in' / f'{path}.mp4')
    words = (tmp_path / 'in', '--group', r'\d', '--as-is', '--work-dir', tmp_path / 'w')
    kept, _, _ = finetune.prepare(finetune.parse_args([str(word) for word in words]), 1)
    groups = [clip.group for clip in kept]
    assert groups[0] == groups[1] != groups[2] == groups[3]


@pytest.mark.parametrize('folds', [1, 2])
def test_a_given_split_is_not_given_up_for_groups(tmp_path, capsys, folds):
    rows = [f'{n}.mp4,{"ab"[n % 2]},{("train", "test")[n // 4]}' for n in range(8)]
    (tmp_path / 'clips.csv').write_text('\n'.join(['path,label,split', *rows]))
    for number in range(8):
        (tmp_path / f'{number}.mp4').touch()
    words = ('--group', r'\d', '--folds', folds, '--work-dir', tmp_path / 'w')
    status, _, err = run(capsys, 'finetune', tmp_path / 'clips.csv', *words)
    assert status == 1
    # With folds the groups count; reading the files, which are empty, comes next.
    assert ('--group divides clips, but their split is given' in err) == (folds == 1)
    assert ('the file is empty' in err) == (folds == 2)


def test_wrong_model_is_said_before_anything_is_done(clips, tmp_path, capsys):
    words = ('--work-dir', tmp_path / 'w', '--as-is', '--model', 'resnet81')
    status, out, err = run(capsys, 'finetune', clips, *words)
    assert status == 1
    assert '--model: there is no resnet81; did you mean resnet18?' in err
    assert '1/5' not in out
    assert not (tmp_path / 'w').exists()


# ---------------------------------------------------------------- in earnest


@pytest.mark.slow
def test_its_config_trains_the_same_model_again(trained, tmp_path, capsys):
    work, _, _ = trained
    command = re.search(r'"mmaction (.*)" trains it again', (work / 'config.py').read_text())[1]
    again = tmp_path / 'again'
    status, out, err = run(capsys, *shlex.split(command), '--work-dir', again)
    assert status == 0, err
    assert 'Epoch(train)' in out
    first, second = (
        torch.load(folder / 'epoch_1.pth', weights_only=True)['state_dict']
        for folder in (work / 'run', again)
    )
    # On another number of threads sums differ in the last bits.
    torch.testing.assert_close(second, first, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_folds_and_seeds(clips, tmp_path, capsys):
    work = tmp_path / 'w'
    words = ('--work-dir', work, '--epochs', '1', '--folds', '2', '--seeds', '2', '--as-is')
    status, out, _ = run(capsys, 'finetune', clips, *words)
    assert status == 0
    summary = json.loads((work / 'summary.json').read_text())
    assert [entry['name'] for entry in summary['runs']] == [
        f'fold {fold}, seed {seed}' for fold in (1, 2) for seed in (0, 1)
    ]
    assert summary['clips'] == 15
    assert summary['std'] >= 0
    assert '4 runs: mean' in out
    assert '; 4 runs: ' in out.partition('Epoch(val)')[0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ctrl_c_leaves_a_run_that_goes_on(clips, tmp_path):
    import signal
    import time

    work = tmp_path / 'w'
    command = [sys.executable, '-m', 'mmaction', 'finetune', clips, '--work-dir', work]
    command += ['--epochs', '30', '--as-is']
    process = subprocess.Popen(
        [*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = ''
    for line in process.stdout:
        said += line
        if 'Epoch(val)' in line:
            process.send_signal(signal.SIGINT)
            break
    rest, _ = process.communicate(timeout=200)
    assert process.returncode == 130, said + rest
    assert 'stopped; the same command resumes' in rest
    time.sleep(0.1)
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r'resumes .* after epoch \d+', done.stdout)
    assert 'top-1 accuracy' in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_real_videos_are_told_apart(tmp_path, capsys):
    """Held-out cuts of real videos, three seeds: 90 % at least."""
    clips = ROOT / 'tests' / 'data' / 'real_clips'
    status, _, _ = run(capsys, 'finetune', clips, '--work-dir', tmp_path / 'w', '--seeds', '3')
    assert status == 0
    summary = json.loads((tmp_path / 'w' / 'summary.json').read_text())
    assert len(summary['runs']) == 3
    assert min(entry['top1_acc'] for entry in summary['runs']) >= 0.9


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_motion_digits_as_folders_reach_95_percent(tmp_path, capsys):
    """From random weights, on a quiet machine of two cores within six minutes."""
    clips = write_clips(tmp_path / 'clips', 125, labels=range(8))
    status, _, _ = run(capsys, 'finetune', clips, '--work-dir', tmp_path / 'w')
    assert status == 0
    assert json.loads((tmp_path / 'w' / 'summary.json').read_text())['top1_acc'] >= 0.95


def test_asked_options_are_those_of_the_parser():
    args = vars(finetune.parse_args(['x']))
    assert set(finetune.ASKED) <= set(args)
