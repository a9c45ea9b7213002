"""The benchmark tools run, and what they print adds up. Times themselves are never tested."""

import json
import sys
from statistics import median

import pytest
import torch

from tests.video_factory import write_video
from tools.analysis_tools import (
    benchmark,
    benchmark_export,
    benchmark_memory,
    benchmark_operators,
    benchmark_scaling,
    benchmark_testing,
)

PICO = 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'


@pytest.fixture(autouse=True)
def _small_products(monkeypatch):
    """A peak that is measured takes a second of each step."""
    for module in (benchmark, sys.modules[benchmark_operators.MatrixProduct.__module__]):
        monkeypatch.setitem(module.PEAK_SIZE, 'cpu', 256)


def test_models_are_interleaved_and_compared(tmp_path, capsys):
    out = tmp_path / 'rows.json'
    against = 'tests/models/backbones/plain_dualformer.py:PlainDualFormer'
    command = [PICO, '--mode', 'train', '--against', against, '--steps', '2', '--warm-up', '1']
    command += ['--shape', '8', '40', '40']
    benchmark.main([*command, '--no-memory', '--json', str(out)])
    rows = {row['name']: row for row in json.loads(out.read_text())}
    ours, plain = rows.values()
    assert list(rows) == ['dualformer_pico_motion_digits', against]
    assert ours['flops'] == plain['flops']
    for row in rows.values():
        assert len(row['seconds']) == len(row['shares']) == 2
        steps = zip(row['seconds'], row['shares'], strict=True)
        peaks = [row['flops'] / seconds / share for seconds, share in steps]
        assert median(peaks) == pytest.approx(row['peak'])
    printed = capsys.readouterr().out
    assert '1.00 x' in printed
    assert all(name in printed for name in rows)
    table = printed[printed.index('Parts of an eager step') :]
    assert all(title in table for title in ('embed', 'local', 'global', 'PEG', 'MLP'))
    assert table.count('stage ') == 2
    # In a process of its own, whose start takes seconds: of one of them.
    assert 1e5 < benchmark.ask_memory(against, command) < 1e9


def test_flops_of_a_step_equal_get_flops():
    from tools.analysis_tools.get_flops import count

    args = benchmark.parse_args(
        [PICO, '--batch', '2', '--mode', 'train', '--shape', '8', '40', '40']
    )
    subject = benchmark.Subject('dualformer_pico_motion_digits', args)
    _, flops = count(subject.backbone, (8, 40, 40))
    assert subject.count() == 2 * 3 * 2 * flops.total()
    assert benchmark.Subject('torchvision.mc3_18', args).count() > 2 * subject.count()


def test_operations_of_products_and_attention_equal_get_flops(capsys):
    from tools.analysis_tools.get_flops import count

    subject = benchmark.Subject(
        'dualformer_pico_motion_digits', benchmark.parse_args([PICO, '--shape', '8', '40', '40'])
    )
    with benchmark_operators.OperatorTimes() as times:
        subject.step()
    counted = sum(
        benchmark_operators.operations(name, shapes) * len(calls)
        for (name, shapes), calls in times.found.items()
    )
    _, flops = count(subject.backbone, (8, 40, 40))
    operators = flops.by_operator()
    assert counted == 2 * (operators['linear'] + operators['attention'])
    benchmark_operators.main([PICO, '--steps', '1', '--shape', '8', '40', '40'])
    printed = capsys.readouterr().out
    assert 'aten.addmm' in printed
    assert 'of peak' in printed


def test_an_unknown_argument_of_the_backbone_is_named(capsys):
    with pytest.raises(SystemExit):
        benchmark.main([PICO, '--against', 'use_chekpoint=True', '--steps', '1'])
    assert 'use_chekpoint' in capsys.readouterr().err


def test_exponents_of_growth(tmp_path, capsys):
    rows = [dict(tokens=n, seconds=3 * n**1.5) for n in (1, 2, 8)]
    assert benchmark_scaling.exponent(rows, 'seconds') == pytest.approx(1.5)
    picture = tmp_path / 'growth.png'
    command = [PICO, '--frames', '4', '8', '--sizes', '32', '64', '--steps', '1', '--no-memory']
    benchmark_scaling.main([*command, '--out', str(picture)])
    printed = capsys.readouterr().out
    assert printed.count('exponent over tokens') == 2
    assert picture.stat().st_size > 10_000


def test_largest_batch_and_fit():
    # 0.9 * 24 GB - 16 bytes * 100 M - 1 GB = 19 GB
    assert benchmark_memory.largest_batch(24e9, 1e9, 100_000_000) == 19
    assert benchmark_memory.largest_batch(1e9, 1e9, 100_000_000) == 0
    assert benchmark_memory.fit({6: 1900, 2: 1100, 3: 1250}) == (700, 200)


@pytest.mark.slow  # `ask_memory`, which takes seconds, is part of a test above
def test_memory_of_two_batches_gives_the_largest(capsys):
    command = [PICO, '--batches', '4', '32', '--modes', 'True', '--precision', 'fp32']
    benchmark_memory.main(command)
    cells = capsys.readouterr().out.splitlines()[-1].split()
    assert cells[0] == 'True'
    less, more, per_clip = (float(cell) for cell in cells[1:7:2])
    assert less < more
    assert per_clip == pytest.approx((more - less) / 28, abs=0.006)


def test_testing_modes(tmp_path, capsys):
    for number in range(3):
        write_video(tmp_path / f'{number}.mp4', num_frames=12)
    (tmp_path / 'list.txt').write_text(''.join(f'{number}.mp4 0\n' for number in range(3)))
    options = [f'data_root={tmp_path}', 'test_dataloader.dataset.ann_file=list.txt']
    command = [PICO, '--batch', '2', '--workers', '1', '--turns', '1', '--device', 'cpu']
    benchmark_testing.main([*command, '--cfg-options', *options])
    ways = capsys.readouterr().out.splitlines()[1:]
    assert [way.rsplit(maxsplit=4)[0] for way in ways] == [
        'one view at a time',
        'one video at a time',
        '2 videos, 1 workers',
    ]
    assert all(float(way.split()[-4]) > 0 for way in ways)


def test_top1_of_exports():
    # As a dataset gives them: one tensor of one class for each clip.
    labels = [torch.tensor([c]) for c in (0, 1, 2, 2)]
    assert benchmark_export.top1(torch.eye(3)[[0, 1, 2, 1]].numpy(), labels) == 0.75
