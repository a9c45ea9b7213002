"""Reports of files that could not be read as they should."""

from mmaction.datasets import reading_report
from mmaction.structures import ActionDataSample


def sample(**facts):
    return ActionDataSample(metainfo=facts)


def test_reports_are_found_in_nested_batches():
    replaced = sample(filename='c.mp4', replaced=[('a.mp4', 'empty'), ('b.mp4', 'cut')])
    lost = sample(filename='d.mp4', unreadable='no frames')
    other = sample(filename='e.mp4', decoder_fallback=('e.mp4', 'size'))
    plain = sample(filename='f.mp4')
    for batch in (
        dict(inputs=[1, 2], data_samples=[replaced, lost, other, plain]),
        dict(inputs=[[1], [2]], data_samples=[[replaced, lost], [other, plain]]),
        [dict(data_samples=replaced), dict(data_samples=[lost, plain]), dict(data_samples=other)],
    ):
        report = reading_report(batch)
        assert report.replaced == [('a.mp4', 'empty'), ('b.mp4', 'cut')]
        assert report.unreadable == [('d.mp4', 'no frames')]
        assert report.fallback == [('e.mp4', 'size')]


def test_nothing_to_report():
    report = reading_report(dict(inputs=['abc'], data_samples=[sample(filename='a.mp4')]))
    assert (report.replaced, report.unreadable, report.fallback) == ([], [], [])
    assert reading_report(dict(inputs=['abc'])).replaced == []


def test_clips_of_one_file_count_each():
    """Segments of one file are clips of their own."""
    samples = [sample(unreadable='empty', filename='a.mp4', sample_idx=i) for i in (3, 4, 4)]
    report = reading_report(dict(data_samples=samples))
    assert report.unreadable_clips == {3, 4}
