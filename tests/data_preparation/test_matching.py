from tests.data_preparation.preparing import dropped, kinetics, lines, run, touch


def test_each_clip_is_listed_once(tmp_path):
    kinetics(tmp_path, ['x,a,0,1', 'x,a,0,1', 'y,b,0,1'], ['x,val0,0,1'])
    touch(tmp_path / 'videos', 'a_000000_000001.mp4', 'b_000000_000001.mp4')
    out = run(tmp_path, 'kinetics400')
    assert lines(out / 'train.txt') == ['a_000000_000001.mp4 0', 'b_000000_000001.mp4 1']
    (_, status, name, reason), _ = dropped(out / 'dropped.tsv')
    assert (status, name) == ('left out', 'a_000000_000001.mp4')
    assert reason.endswith('train.csv:2 already')
