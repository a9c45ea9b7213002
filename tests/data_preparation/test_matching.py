from types import SimpleNamespace

from mmaction.data_preparation.matching import match_rows
from mmaction.data_preparation.media_index import MediaIndex
from mmaction.data_preparation.schema import Row
from tests.data_preparation.preparing import dropped, kinetics, lines, run, touch


def test_each_clip_is_listed_once(tmp_path):
    kinetics(tmp_path, ['x,a,0,1', 'x,a,0,1', 'y,b,0,1'], ['x,val0,0,1'])
    touch(tmp_path / 'videos', 'a_000000_000001.mp4', 'b_000000_000001.mp4')
    out = run(tmp_path, 'kinetics400')
    assert lines(out / 'train.txt') == ['a_000000_000001.mp4 0', 'b_000000_000001.mp4 1']
    (_, status, name, reason), _ = dropped(out / 'dropped.tsv')
    assert (status, name) == ('left out', 'a_000000_000001.mp4')
    assert reason.endswith('train.csv:2 already')


def test_clip_of_another_list_is_taken_again_only_where_names_are_sure():
    index = MediaIndex(['a.mp4', 'b.mp4'], ('.mp4',))
    for one_naming, expected in ((True, ['left out', 'kept']), (False, ['kept', 'kept'])):
        reader, taken = SimpleNamespace(one_naming=one_naming), {}
        for name, clips, statuses in (('train', 'a', ['kept']), ('val', 'ab', expected)):
            rows = [Row(f'{name}:{clip}', (clip,), 0) for clip in clips]
            found = match_rows(rows, index, reader, False, [], taken)
            assert [outcome.status for outcome in found] == statuses
        if one_naming:
            assert found[0].reason == 'its clip is that of train:a already'
