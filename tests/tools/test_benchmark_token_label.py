"""The benchmark of token labeling: three kinds of step, in one run."""

from pathlib import Path

import pytest

from tools.analysis_tools import benchmark_token_label

CONFIGS = 'configs/recognition/dualformer'


@pytest.fixture(autouse=True)
def _in_root(monkeypatch):
    """Paths in configs are relative to the root of the repository."""
    monkeypatch.chdir(Path(__file__).parents[2])


def test_table_of_three_steps(capsys):
    benchmark_token_label.main(
        [
            f'{CONFIGS}/dualformer_pico_student_tokenlabel_motion_digits.py',
            *('--batch-size', '1', '--steps', '1', '--warm-up', '0', '--device', 'cpu'),
            *('--amp', 'bf16', '--shape', '4', '20', '20'),
        ]
    )
    lines = capsys.readouterr().out.strip().splitlines()[-4:]
    assert lines[0].split() == ['training', 'step', 'median', 'min', 'max', 'ratio']
    assert lines[1].startswith('no token labels')
    assert lines[1].endswith('1.00')
    assert lines[3].startswith('token branch and teacher')
    assert all(float(line.split()[-1]) > 0 for line in lines[1:])


def test_a_config_without_token_labels_is_refused(capsys):
    with pytest.raises(SystemExit):
        benchmark_token_label.main([f'{CONFIGS}/dualformer_pico_motion_digits.py'])
    assert 'is of a Recognizer3D, not of a Recognizer3D_TL' in capsys.readouterr().err
