"""The command `mmaction`: verbs, their options, and what a mistake in them says."""

import subprocess
import sys

import pytest

from mmaction.cli import predict
from mmaction.cli.main import HELP, VERBS, main
from mmaction.version import __version__

PICO = 'dualformer_pico_motion_digits'


def said(capsys, *words):
    """Exit status, standard output and standard error of a command."""
    try:
        status = main(list(words))
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


@pytest.mark.parametrize('words', [(), ('--help',), ('help',)])
def test_help_names_every_verb(capsys, words):
    status, out, err = said(capsys, *words)
    assert (status, out, err) == (0, HELP, '')
    assert all(f'\n  {verb} ' in out for verb in VERBS)


def test_version(capsys):
    assert said(capsys, '--version') == (0, f'mmaction {__version__}\n', '')


@pytest.mark.parametrize('module', ['mmaction', 'mmaction.cli.main'])
def test_modules_that_are_the_command(module):
    command = [sys.executable, '-m', module, '--version']
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f'mmaction {__version__}\n')


@pytest.mark.parametrize('verb', VERBS)
def test_every_verb_has_help(capsys, verb):
    status, out, _ = said(capsys, verb, '--help')
    assert status == 0
    assert out.startswith(f'usage: mmaction {verb} ')
    assert said(capsys, 'help', verb)[1] == out


MISTAKES = {
    'trian x': 'there is no verb trian; did you mean "train"? (see "mmaction --help")',
    'frobnicate': 'there is no verb frobnicate; there are ',
    'train x.py --wrok-dir out': 'there is no option --wrok-dir; did you mean "--work-dir"? '
    '(see "mmaction train --help")',
    'train x.py y.py': 'y.py is one argument too many (see "mmaction train --help")',
    'train': 'config is missing (see "mmaction train --help")',
    'train x.py --launcher pytroch': '--launcher: there is no pytroch; did you mean "pytorch"?',
    'train x.py --seed one': "--seed: invalid int value: 'one'",
    'test x.py --amp': 'checkpoint is missing (see "mmaction test --help")',
    'export x.py y.pth z.tflite': 'z.tflite: the name has to end in .onnx, .xml or .pt2',
    'predict x.mp4': 'give --run DIR, or --config CONFIG with --checkpoint FILE',
    'predict x.mp4 --run a --out b.txt': '--out b.txt must end in .csv or .json',
    'prepare folder': 'out is missing',
    'prepare a b --val 1': '--val 1.0 must be at least 0 and below 1',
}


@pytest.mark.parametrize('line', MISTAKES)
def test_a_mistake_is_one_sentence_and_status_2(capsys, line):
    status, out, err = said(capsys, *line.split())
    assert (status, out) == (2, '')
    assert err.startswith(f'error: {MISTAKES[line]}')
    assert err.count('\n') == 1


ABSENT = {
    f'train {PICO[:-1]}': f'there is no config {PICO[:-1]}; did you mean {PICO} or ',
    'train nothing_like_it': 'there is no config file nothing_like_it ("mmaction info --configs"',
    f'test {PICO} no.pth': 'there is no checkpoint no.pth',
    'prepare kinetic400 out': 'there is no folder or dataset kinetic400; did you mean '
    '"kinetics400"?',
    'predict no.mp4 --run .': 'there is no video file or folder of frames no.mp4',
    'info --configs xyz': "no config has 'xyz' in its name",
}


@pytest.mark.parametrize('line', ABSENT)
def test_what_is_not_there_is_one_sentence_and_status_1(capsys, line):
    status, out, err = said(capsys, *line.split())
    assert (status, out) == (1, '')
    assert err.startswith(f'error: {ABSENT[line]}')
    assert err.count('\n') == 1


def test_predict_notes_what_it_leaves_out_of_a_folder(tmp_path, capsys):
    for name in ('a.mp4', 'b.gif'):
        (tmp_path / name).touch()
    assert predict.videos_of(str(tmp_path)) == [str(tmp_path / 'a.mp4')]
    assert 'note: other files were left out: 1 .gif\n' in capsys.readouterr().err
    assert predict.videos_of(str(tmp_path / 'b.gif')) == [str(tmp_path / 'b.gif')]
    (tmp_path / 'list.csv').write_text('Path\na.mp4\n')
    assert predict.videos_of(str(tmp_path / 'list.csv')) == [str(tmp_path / 'a.mp4')]


@pytest.mark.parametrize('words', [['--help'], ['train', '--help'], ['predict', '-h']])
def test_help_waits_for_no_library(words):
    code = (
        'import sys; before = set(sys.modules)\n'
        'try:\n'
        f'    from mmaction.cli.main import main; main({words})\n'
        'except SystemExit:\n'
        '    pass\n'
        'print(*sorted(set(sys.modules) - before), file=sys.stderr)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    loaded = set(done.stderr.split())
    assert 'mmaction.cli.main' in loaded
    assert not {name.partition('.')[0] for name in loaded} & {'torch', 'mmengine', 'numpy', 'av'}
    # 0.06 s of an idle machine; each library above takes longer
    assert len(loaded) < 130, loaded


def test_configs_are_listed_by_name(capsys):
    _, out, _ = said(capsys, 'info', '--configs', 'dualformer_pico_motion_d')
    assert out == f'{PICO}\n'


def test_info_names_versions_and_devices(capsys):
    import torch

    status, out, _ = said(capsys, 'info')
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert status == 0
    assert torch.__version__.startswith(rows['torch'])
    assert int(rows['cores']) >= 1
    assert rows['device'].startswith('cuda:0' if torch.cuda.is_available() else 'cpu')
