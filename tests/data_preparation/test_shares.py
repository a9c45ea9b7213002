"""Work of several machines: shares, their records, and merging them."""

import json
import os
import tarfile

import pytest

from mmaction.data_preparation.integrity import Journal
from mmaction.data_preparation.packing import PackRequest, pack_list
from mmaction.data_preparation.reencode import Settings, reencode_folder
from mmaction.data_preparation.share_records import Record, write_record
from mmaction.data_preparation.shares import merge_shares
from mmaction.datasets.shard_index import ShardIndex
from mmaction.utils.cli import Parser
from mmaction.utils.work_share import WorkShare, add_share_option, with_rank
from tests.video_factory import write_video


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Seven videos, one of them damaged, and `list.txt`."""
    root = tmp_path_factory.mktemp('clips')
    for number in range(7):
        write_video(root / f'{number}.mp4', num_frames=8, width=48, height=32)
    (root / '5.mp4').write_bytes(b'broken')
    (root / 'list.txt').write_text(''.join(f'{n}.mp4 {n % 3}\n' for n in range(7)))
    return root


def shares(count):
    return [WorkShare(index, count) for index in range(count)]


@pytest.mark.parametrize(('total', 'count'), [(7, 3), (2, 5), (0, 2), (9, 1)])
def test_shares_hold_everything_once(total, count):
    items = list(range(total))
    assert sorted(item for share in shares(count) for item in share.of(items)) == items
    assert [item for share in shares(count) for item in share.stretch(total)] == items


def share_of(arguments):
    parser = Parser()
    add_share_option(parser)
    return parser.parse_args(arguments).shard


def test_share_of_a_slurm_array(monkeypatch):
    assert share_of([]) == WorkShare(0, 1)
    for name, value in dict(ID=4, COUNT=4, MIN=1, MAX=4).items():
        monkeypatch.setenv(f'SLURM_ARRAY_TASK_{name}', str(value))
    assert share_of([]) == WorkShare(3, 4)
    assert share_of(['--shard', '0/2']) == WorkShare(0, 2)


@pytest.mark.parametrize(
    ('number', 'first', 'last', 'count'),
    [(3, 1, 3, 2), (3, 3, 3, 1), (5, 5, 8, 4), (0, 0, 0, 1)],  # --array=1,3  3  5-8  0
)
def test_part_of_an_array_does_not_guess_its_share(monkeypatch, capsys, number, first, last, count):
    for name, value in dict(ID=number, COUNT=count, MIN=first, MAX=last).items():
        monkeypatch.setenv(f'SLURM_ARRAY_TASK_{name}', str(value))
    with pytest.raises(SystemExit):
        share_of([])
    assert '--shard $SLURM_ARRAY_TASK_ID/16' in capsys.readouterr().err
    assert share_of(['--shard', '3/16']) == WorkShare(3, 16)


@pytest.mark.parametrize('text', ['2/2', '1', 'a/b', '-1/2', '1/0'])
def test_wrong_share_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        share_of([f'--shard={text}'])
    assert f'{text} is not I/N' in capsys.readouterr().err


def test_ranks_share_a_share(monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert with_rank(WorkShare(2, 3)) == WorkShare(5, 6)


def test_packed_shares_keep_their_number(folder, tmp_path):
    """Files of the first of two and of the first of four shares have the same names."""
    request = PackRequest(str(folder / 'list.txt'), str(tmp_path), share=WorkShare(0, 2))
    assert pack_list(request) == 0
    for other in (WorkShare(0, 4), WorkShare()):
        with pytest.raises(ValueError, match=r"was made with \{'shares': 2\}.* another folder"):
            pack_list(request._replace(share=other))


def test_packed_shares_become_the_whole(folder, tmp_path):
    size = 3 * (folder / '0.mp4').stat().st_size
    for share in shares(3):
        request = PackRequest(str(folder / 'list.txt'), str(tmp_path), size=size, share=share)
        assert pack_list(request) == 0
        if share.index < 2:
            with pytest.raises(ValueError, match=r'shares of pack are not done: --shard .*2/3'):
                merge_shares(tmp_path)
    (line,) = merge_shares(tmp_path)
    assert line.startswith(f'pack: {tmp_path}: 7 clips in ')
    index = ShardIndex(tmp_path / 'index.npz')
    assert index.shard_sizes == [os.path.getsize(shard) for shard in index.shards]
    for position in range(7):
        entry = index[position]
        assert entry.name == f'{position}.mp4'
        assert entry.labels == [position % 3]
        with open(index.shards[entry.shard], 'rb') as file:
            file.seek(entry.offset)
            assert file.read(entry.size) == (folder / entry.name).read_bytes()


def test_shards_end_before_they_are_too_large(tmp_path):
    for number in range(4):
        (tmp_path / f'{number}.mp4').write_bytes(bytes([number]) * 100)
    (tmp_path / 'list.txt').write_text(''.join(f'{number}.mp4 1\n' for number in range(4)))
    # A clip takes a block of head and one of content, and so do its label and its facts.
    for size, shards in ((1024 + 3 * 3072 - 1, 2), (1024 + 3 * 3072, 2), (1024 + 4 * 3072, 1)):
        out = tmp_path / str(size)
        assert pack_list(PackRequest(str(tmp_path / 'list.txt'), str(out), size=size)) == 0
        assert len(list(out.glob('*.tar'))) == shards
        assert ShardIndex(out / 'index.npz').blocks()[1] == (size - 1024) // 3072


def test_a_clip_that_has_changed_is_packed_again(tmp_path):
    clip, request = tmp_path / 'a.mp4', PackRequest(str(tmp_path / 'list.txt'), str(tmp_path / 'o'))
    (tmp_path / 'list.txt').write_text('a.mp4\n')
    for content, seconds in ((b'one', 1), (b'two', 2**33)):
        clip.write_bytes(content)
        os.utime(clip, (seconds, seconds))
        assert pack_list(request) == 0
        with tarfile.open(tmp_path / 'o' / 'clips-000000.tar') as archive:
            # Without a label there is no .cls.
            assert archive.getnames() == ['000000000.mp4', '000000000.json']
            assert archive.extractfile('000000000.mp4').read() == content


def reencode(folder, out, share):
    settings = Settings(short_side=32, preset='ultrafast')
    return reencode_folder(
        folder, out, settings, workers=1, timeout=60, overwrite=False, share=share
    )


def test_prepared_shares_hold_each_video_once(folder, tmp_path, capsys):
    whole = [reencode(folder, tmp_path, share) for share in shares(2)]
    assert sorted(whole) == [False, True]
    (line,) = merge_shares(tmp_path)
    assert line == 'prepare_videos: 7 items in 2 shares, 1 failed'
    assert (tmp_path / 'failures.txt').read_text().startswith(f'{folder}/5.mp4\t')
    assert not list(tmp_path.glob('failures-*'))
    made = {path.name for path in tmp_path.glob('*.mp4')}
    assert made == {f'{n}.mp4' for n in range(7) if n != 5}
    (tmp_path / '2.mp4').unlink()
    with pytest.raises(ValueError, match=r'1 file missing, the first is 2\.mp4'):
        merge_shares(tmp_path)
    # A rerun does only what is missing.
    capsys.readouterr()
    reencode(folder, tmp_path, WorkShare(0, 2))
    assert '1 video (8 frames) made, 3 were there' in capsys.readouterr().out
    assert merge_shares(tmp_path)


def test_share_is_locked_by_itself(folder, tmp_path):
    from mmaction.data_preparation.jobs import output_folder

    with output_folder(tmp_path, WorkShare(0, 2)), output_folder(tmp_path, WorkShare(1, 2)):
        code = os.fork()
        if not code:
            try:
                with output_folder(tmp_path, WorkShare(0, 2)):
                    os._exit(0)
            except BlockingIOError:
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(code, 0)[1]) == 3


def test_other_counts_and_doubles_are_found(tmp_path):
    with pytest.raises(ValueError, match='holds no shares'):
        merge_shares(tmp_path)
    write_record(tmp_path, Record('check_videos', WorkShare(0, 2), 3, ['a', 'b'], {}))
    write_record(tmp_path, Record('check_videos', WorkShare(1, 2), 3, ['b'], {}))
    with pytest.raises(ValueError, match='do not add up: b is in two of them'):
        merge_shares(tmp_path)
    write_record(tmp_path, Record('check_videos', WorkShare(1, 2), 3, ['b', 'c'], {}))
    with pytest.raises(ValueError, match='do not add up: b is in two of them'):
        merge_shares(tmp_path)
    write_record(tmp_path, Record('check_videos', WorkShare(1, 2), 4, ['c'], {}))
    with pytest.raises(ValueError, match='of different work'):
        merge_shares(tmp_path)
    write_record(tmp_path, Record('check_videos', WorkShare(2, 3), 3, ['c'], {}))
    with pytest.raises(ValueError, match='was run in 2 and in 3 shares'):
        merge_shares(tmp_path)


def test_checked_shares_are_not_read_again(folder, tmp_path):
    for share, name in zip(shares(2), ('0.mp4', '1.mp4'), strict=True):
        journal = Journal(tmp_path / 'list.videos.jsonl', True, share)
        journal.add(str(folder / name), dict(codec='h264'))
        journal.close()
    whole = Journal(tmp_path / 'list.videos.jsonl', True)
    whole.close()
    assert sorted(whole.facts) == [str(folder / name) for name in ('0.mp4', '1.mp4')]


@pytest.mark.slow
def test_ray_does_each_video_once_though_a_node_is_killed(folder, tmp_path):
    ray = pytest.importorskip('ray')
    from ray.cluster_utils import Cluster

    from mmaction.data_preparation.jobs import run_jobs

    source = tmp_path / 'source'
    source.mkdir()
    video = write_video(tmp_path / 'clip.mp4', num_frames=200)
    for number in range(24):
        os.link(video, source / f'{number:02}.mp4')
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1))
    lost = cluster.add_node(num_cpus=1)
    try:
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        from functools import partial

        from mmaction.data_preparation.reencode import work

        jobs = [(str(p), str(tmp_path / 'out' / p.name)) for p in sorted(source.iterdir())]
        seen = []
        settings = Settings(short_side=64)
        for outcome in run_jobs(
            partial(work, settings=settings),
            jobs,
            workers=1,
            timeout=120,
            title='test',
            ray=cluster.address,
        ):
            assert outcome.reason is None
            seen.append(outcome.job)
            if len(seen) == 3:
                cluster.remove_node(lost, allow_graceful=False)
        assert sorted(seen) == sorted(map(tuple, jobs))
        assert len(list((tmp_path / 'out').glob('*.mp4'))) == 24
        assert not [p for p in (tmp_path / 'out').iterdir() if p.suffix != '.mp4']
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_record_is_plain_json(tmp_path):
    write_record(tmp_path, Record('pack', WorkShare(1, 2), 5, [], {'x': 'why'}))
    content = json.loads((tmp_path / 'share-pack-001-of-002.json').read_text())
    assert content == dict(total=5, items=[], failures={'x': 'why'})
