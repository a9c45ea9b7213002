"""The documentation: links and anchors lead somewhere, every page is on the site."""

import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location

import pytest
import yaml

from tests.repository import ROOT, repository_files

DOCS = ROOT / 'docs'
PAGES = [ROOT / name for name in repository_files('*.md')]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCED = re.compile(r'^ *```.*?^ *```', re.MULTILINE | re.DOTALL)


def site_pages():
    spec = spec_from_file_location('site_pages', DOCS / 'site_pages.py')
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(page):
    """A page without its blocks of code."""
    return FENCED.sub('', page.read_text('utf-8'))


def anchors(page):
    """The anchors of a page's headings, as GitHub and MkDocs make them."""
    found = set()
    for heading in re.findall(r'^#+ (.+)$', text_of(page), re.MULTILINE):
        words = re.sub(r'[^\w\- ]', '', heading.strip().lower())
        found.add(re.sub(' +', '-', words))
    return found


def broken_links(page):
    """The relative links of a page that lead nowhere."""
    broken = []
    for target in re.findall(r'\]\(([^)\s]+)\)', text_of(page)):
        if re.match(r'[a-z]+:', target):
            continue
        path, _, anchor = target.partition('#')
        place = (page.parent / path) if path else page
        if not place.exists() or (anchor and anchor not in anchors(place)):
            broken.append(target)
    return broken


@pytest.mark.parametrize('page', PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    assert broken_links(page) == []


def test_broken_links_are_found(tmp_path):
    (tmp_path / 'b.md').write_text('# A heading, with `code`\n')
    page = tmp_path / 'a.md'
    good = '[x](b.md) [x](b.md#a-heading-with-code) [x](https://x.org/no) ![](b.md)'
    page.write_text(f'# One\n{good} [y](#one)\n```\n[z](not/a/link)\n```\n')
    assert broken_links(page) == []
    page.write_text('[x](c.md) [x](b.md#other) [y](#one)')
    assert broken_links(page) == ['c.md', 'b.md#other', '#one']


def test_environment_variables_are_documented():
    code = '\n'.join(path.read_text('utf-8') for path in (ROOT / 'mmaction').rglob('*.py'))
    pages = '\n'.join(text_of(page) for page in PAGES)
    known = set(re.findall(r'MMACTION_[A-Z_]+', code))
    assert 'MMACTION_TRACEBACK' in known
    assert known - set(re.findall(r'MMACTION_[A-Z_]+', pages)) == set()


def leaves(nav):
    for item in nav:
        for value in item.values():
            yield from leaves(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation():
    config = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())
    others = site_pages().OTHERS
    shown = list(leaves(config['nav']))
    assert len(shown) == len(set(shown))
    pages = {page.name for page in DOCS.glob('*.md')} | set(others.values())
    assert set(shown) == pages, 'name every page of docs/ in the nav of mkdocs.yml'
    assert all((ROOT / path).is_file() for path in others)
    assert config['hooks'] == ['docs/site_pages.py']


def test_links_of_the_repository_become_links_of_the_site():
    rewrite = site_pages().rewrite
    text = '[a](data.md#lists) ![b](../figures/x.png) [c](../README.md) [d](../tools/a.py) [e](#f)'
    shown = '[a](data.md#lists) ![b](figures/x.png) [c](index.md) d [e](#f)'
    assert rewrite(text, 'docs/page.md') == shown
    assert (
        rewrite('[d](../tools/a.py)', 'docs/page.md', 'https://x/y/')
        == '[d](https://x/y/tools/a.py)'
    )
    assert rewrite('[a](docs/data.md) [b](https://z)', 'README.md') == '[a](data.md) [b](https://z)'
    assert rewrite('| `a\\|b` | c |', 'README.md') == '| `a|b` | c |'
    code = '```python\nx[0](y)\n```'
    assert rewrite(code, 'README.md') == code
    item = '1. one\n\n   ```bash\n   x\n   ```\n\nafter\n   x'
    assert rewrite(item, 'README.md') == '1. one\n\n    ```bash\n    x\n    ```\n\nafter\n   x'


@pytest.mark.skipif(find_spec('mkdocs') is None, reason='needs pip install -e ".[docs]"')
def test_mkdocs_site_builds(tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', tmp_path / 'site'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'site' / 'faq' / 'index.html').is_file()
