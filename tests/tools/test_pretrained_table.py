"""The table of pretrained backbones is what the libraries say."""

from pathlib import Path

from tools.misc.pretrained_table import torchvision_rows

PAGE = Path(__file__).parents[2] / 'docs' / 'pretrained.md'


def test_page_has_the_rows_of_torchvision():
    text = PAGE.read_text(encoding='utf-8')
    rows = torchvision_rows()
    assert len(rows) > 4
    for row in rows:
        assert f'| {" | ".join(row)} |\n' in text
