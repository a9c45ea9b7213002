"""Files that are read by byte ranges."""

import io
import random

import pytest

from mmaction.utils.ranged_file import RangedFile

CONTENT = bytes(random.Random(0).randbytes(1_000_000))


class Source:
    """Gives ranges of the content, or all of it, and notes what was asked for."""

    def __init__(self, whole=False):
        self.asked, self.whole = [], whole

    def __call__(self, start, end):
        self.asked.append((start, end))
        return CONTENT if self.whole else CONTENT[start:end]

    @property
    def bytes(self):
        return sum(end - start for start, end in self.asked)


@pytest.mark.parametrize('whole', [False, True])
def test_any_reads_give_the_content(whole):
    source, draw = Source(whole), random.Random(1)
    file, plain = RangedFile(len(CONTENT), source), io.BytesIO(CONTENT)
    for _ in range(300):
        position = draw.randrange(len(CONTENT) + 10)
        if draw.random() < 0.3:
            start = draw.randrange(len(CONTENT))
            file.want([(start, start + draw.randrange(200_000))])
        if draw.random() < 0.7:
            assert file.seek(position) == plain.seek(position)
        count = draw.randrange(1, 50_000)
        found = file.read(count)
        assert found == plain.read(len(found))
        assert found or plain.read(1) == b''
        assert file.tell() == plain.tell()
    assert (file.seek(-5, io.SEEK_END), file.read(9)) == (len(CONTENT) - 5, CONTENT[-5:])
    if whole:
        assert len(source.asked) == 1


def test_blocks_grow_while_they_follow_each_other():
    source = Source()
    file = RangedFile(len(CONTENT), source, block=1000)
    assert io.BufferedReader(file, 100).read(15_000) == CONTENT[:15_000]
    assert source.asked == [(0, 1000), (1000, 3000), (3000, 7000), (7000, 15_000)]
    file.seek(500_000)
    file.read(1)
    assert source.asked[-1] == (500_000, 501_000)


def test_what_is_announced_is_fetched_at_once_and_only_when_it_is_read():
    source = Source()
    file = RangedFile(len(CONTENT), source, block=1000)
    file.want([(200_000, 250_000), (250_500, 300_000), (400_000, 2_000_000)])
    file.read(10)
    assert source.asked == [(0, 1000)]
    file.seek(200_500)
    while file.tell() < 300_000:
        file.read(7000)
    assert source.asked[1:] == [(200_500, 300_000)]
    file.seek(450_000)
    file.read(10)
    assert source.asked[2:] == [(450_000, len(CONTENT))]
