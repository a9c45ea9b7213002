"""The data benchmark on small synthesized clips: every stage and byte is accounted for."""

import os
import re
from pathlib import Path

import pytest

from mmaction.datasets.transforms.loading import DecordDecode
from tests.video_factory import write_video
from tools.analysis_tools import benchmark_data

CONFIG = """
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='EpochSampler'),
    dataset=dict(
        type='VideoDataset',
        ann_file='elsewhere.txt',
        data_prefix=dict(video='elsewhere'),
        pipeline=[
            dict(type='DecordInit'),
            dict(type='SampleFrames', clip_len=4, frame_interval=2),
            dict(type='DecordDecode'),
            dict(type='Resize', scale=(64, 48), keep_ratio=False),
            dict(type='FormatShape', input_format='NCTHW'),
            dict(type='PackActionInputs'),
        ],
    ),
)
"""
STAGES = [
    'DecordInit',
    'SampleFrames',
    'DecordDecode',
    'Resize',
    'FormatShape, RGB',
    'PackActionInputs',
    'to the main process',
    'decoding alone',
    'whole pipeline',
]


@pytest.fixture
def folder(tmp_path):
    for number in range(2):
        write_video(tmp_path / f'clip {number}.mp4', num_frames=20, width=128, height=96)
    for name in ('a.txt', 'b.txt'):
        (tmp_path / name).write_text('clip 0.mp4 0\nclip 1.mp4 1\n')
    (tmp_path / 'config.py').write_text(CONFIG)
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch):
    def run(*args):
        argv = ['benchmark_data.py', *args, '--config', str(folder / 'config.py'), '--clips', '3']
        monkeypatch.setattr('sys.argv', argv)
        benchmark_data.main()

    return run


def test_every_pipeline_stage_is_a_row(run, folder, capsys):
    run(str(folder / 'a.txt'), str(folder / 'b.txt'))
    out = capsys.readouterr().out
    rows = re.findall(
        r'^(\w[\w, ]*?) +(\d+\.\d+) +(\d+\.\d|-)(?: +(\d+\.\d+))?$', out, re.MULTILINE
    )
    assert [row[0] for row in rows] == STAGES * 2
    values = {name: (float(seconds), size) for name, seconds, _, size in rows[: len(STAGES)]}
    resized = f'{4 * 64 * 48 * 3 / 1e6:.2f}'
    assert [values[name][1] for name in STAGES] == ['', '', '', '', *3 * [resized], '', resized]
    stages = [values[name][0] for name in STAGES]
    assert stages[6] == pytest.approx(max(stages[8] - sum(stages[:6]), 0), abs=0.05)
    assert all(stages[i] > 0 for i in (0, 2, 4, 8))
    assert sum(stages[:3]) == pytest.approx(stages[7], abs=0.05)
    for name in ('reading process', 'main process'):
        told = re.search(rf'memory in MB, {name}: (\d+) after 1, (\d+) after 3 clips', out)
        assert all(10 < int(size) < 100_000 for size in told.groups())
    share = float(re.search(r'has (\d\.\d+) of the speed of decoding', out)[1])
    assert share == pytest.approx(stages[7] / stages[8], abs=0.02)
    assert len(re.findall(r'times the clips/s of .*a\.txt', out)) == 1


def test_rates_are_compared_per_clip(run, folder, monkeypatch, capsys):
    real = benchmark_data.arrivals

    def steady(dataset, count):
        for item, _ in real(dataset, count):
            yield item, 0.25 if dataset.ann_file.endswith('b.txt') else 0.5

    monkeypatch.setattr(benchmark_data, 'arrivals', steady)
    run(str(folder / 'a.txt'), str(folder / 'b.txt'), '--repeats', '2')
    out = capsys.readouterr().out
    assert re.findall(r'^whole pipeline +(\S+) +(\S+)', out, re.MULTILINE) == [
        ('500.00', '2.0'),
        ('250.00', '4.0'),
    ]
    assert re.findall(r'(\S+) times the clips/s of .*a\.txt', out) == ['2.00']
    repeated = re.findall(r'2 clips per opened file: (\S+) clips/s/core, (\S+) times', out)
    assert repeated == [('4.0', '2.00'), ('8.0', '2.00')]


def test_classes_of_the_list_reach_the_transforms(run, folder, capsys):
    flip = "dict(type='Flip', flip_label_map={'moving left': 'moving right'}),"
    config = CONFIG.replace(
        "dict(type='FormatShape'", f"{flip}\n            dict(type='FormatShape'"
    )
    (folder / 'config.py').write_text(config)
    for names in ('', 'moving left\nmoving right\n'):
        (folder / 'classes.txt').write_text(names or 'a\nb\n')
        run(str(folder / 'a.txt'))
        assert 'whole pipeline' in capsys.readouterr().out


def test_a_missing_list_is_one_error(run, folder, capsys):
    with pytest.raises(SystemExit) as caught:
        run(str(folder / 'none.txt'))
    assert caught.value.code == 1
    assert re.search(r'^error: .*none\.txt', capsys.readouterr().err)


def test_pipeline_without_packing_is_error(run, folder, capsys):
    (folder / 'config.py').write_text(CONFIG.replace("dict(type='PackActionInputs'),", ''))
    with pytest.raises(SystemExit):
        run(str(folder / 'a.txt'))
    assert 'not with PackActionInputs' in capsys.readouterr().err


def test_opponents_take_turns_in_cpu_time(run, folder, capsys, monkeypatch):
    pytest.importorskip('decord')
    monkeypatch.syspath_prepend(str(Path(benchmark_data.__file__).parent))
    import plain_reading

    log = folder / 'frames.txt'

    def note(*told):
        # The pipeline reads in a process of its own.
        with log.open('a') as file:
            print(*told, sep='\t', file=file)

    plain = plain_reading.plain_reading

    def spied(*args):
        clip = plain(*args)
        assert clip.shape == (3, 4, 224, 224)
        note(args[0], os.getpid(), args[2])
        return clip

    decode = DecordDecode.transform

    def spied_decode(self, results):
        name = 'in_decoder' if self.in_decoder else 'pipeline'
        note(name, os.getpid(), results['frame_inds'].tolist())
        return decode(self, results)

    monkeypatch.setattr(plain_reading, 'plain_reading', spied)
    monkeypatch.setattr(DecordDecode, 'transform', spied_decode)
    run(str(folder / 'a.txt'), '--against', 'decord', 'in_decoder', 'decoding', '--interval', '3')
    out = capsys.readouterr().out
    assert 'a.txt: 3 clips of every 3 frames, CPU time of one thread, ' in out
    rows = re.findall(r'^(\w+) +([\d.]+) ms/clip, ([\d.]+) times the CPU', out, re.M)
    assert [name for name, *_ in rows] == ['pipeline', 'decord', 'in_decoder', 'decoding']
    times = [float(milliseconds) for _, milliseconds, _ in rows]
    for (_, _, ratio), milliseconds in zip(rows, times, strict=True):
        assert float(ratio) == pytest.approx(milliseconds / times[0], rel=0.1)
    # Each turn, all read the frames that the untimed one before them drew.
    told = [line.split('\t') for line in log.read_text().splitlines()]
    turns = [told[i : i + 4] for i in range(0, len(told), 4)]
    assert len(turns) == 4
    for turn in turns:
        names = sorted(name for name, *_ in turn)
        assert names == ['decord', 'in_decoder', 'pipeline', 'pipeline']
        assert len({indices for *_, indices in turn}) == 1
    assert len({turn[0][2] for turn in turns}) > 1
    places = {(name == 'decord', place) for name, place, _ in told}
    assert len(places) == 2
    assert (True, str(os.getpid())) in places


def test_plain_readers_keep_memory_if_told_to(run, folder, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(benchmark_data.__file__).parent))
    import plain_reading

    done = []
    monkeypatch.setattr(benchmark_data, 'keep_freed_memory', lambda: done.append('keep'))
    monkeypatch.setattr(plain_reading, 'plain_reading', lambda *args: done.append('read'))
    for options in ([], ['--keep-memory']):
        done.clear()
        run(str(folder / 'a.txt'), '--against', 'decord', *options)
        assert done == ['keep'] * len(options) + ['read'] * 4
