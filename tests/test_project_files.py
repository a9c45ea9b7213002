"""Files beside the code: what they say of versions, interpreters and checks agrees."""

import re
from datetime import date
from pathlib import Path

import pytest
import yaml

from mmaction.version import __version__
from tests.repository import ROOT, repository_files


def text(name):
    return (ROOT / name).read_text(encoding='utf-8')


def workflow():
    # YAML 1.1 reads the key `on` as true.
    return yaml.safe_load(text('.github/workflows/ci.yml'))


def test_changelog_has_version_and_date_of_each_release():
    headings = re.findall(r'^## (.+)$', text('CHANGELOG.md'), re.MULTILINE)
    pattern = r'(\d+\.\d+\.\d+) \((unreleased|\d{4}-\d\d-\d\d)\)'
    matches = [re.fullmatch(pattern, heading) for heading in headings]
    assert all(matches), headings
    assert matches[0][1] == __version__
    dates = [match[2] for match in matches]
    assert 'unreleased' not in dates[1:]
    released = [date.fromisoformat(day) for day in dates if day != 'unreleased']
    assert released == sorted(released, reverse=True)


def test_citation_names_the_version_and_the_paper():
    citation = yaml.safe_load(text('CITATION.cff'))
    assert citation['version'] == __version__
    paper = citation['preferred-citation']
    assert paper['title'] in text('README.md').replace('{', '').replace('}', '')
    assert paper['url'] in text('README.md')
    assert f'Paper = "{paper["url"]}"' in text('pyproject.toml')


def test_python_versions_agree():
    listed = re.findall(r'Python :: (3\.\d+)"', text('pyproject.toml'))
    low, high = re.search(
        r'requires-python = ">=(3\.\d+),<(3\.\d+)"', text('pyproject.toml')
    ).groups()
    assert listed[0] == low
    assert f'3.{int(listed[-1][2:]) + 1}' == high
    setup = text('tools/_setup.sh')
    assert '({}) <= sys.version_info < ({})'.format(
        low.replace('.', ', '), high.replace('.', ', ')
    ) in setup  # fmt: skip
    jobs = workflow()['jobs']
    tested = jobs['newest']['strategy']['matrix']['python-version']
    oldest = jobs['oldest']['steps'][1]['with']['python-version']
    assert [oldest, *tested] == listed


def test_oldest_pytorch_is_that_of_the_requirements():
    oldest = re.search(r'^torch>=(.+)$', text('requirements.txt'), re.MULTILINE)[1]
    assert f'PyTorch {oldest})' in workflow()['jobs']['oldest']['name']


def test_workflow_is_restricted_and_pinned():
    found = workflow()
    assert found['permissions'] == {'contents': 'read'}
    assert found['concurrency']['group']
    for job in found['jobs'].values():
        assert job['timeout-minutes'] <= 60
        assert 'permissions' not in job
        for step in job['steps']:
            if 'uses' in step:
                assert re.fullmatch(r'[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})', step['uses'])
    scripts = [
        step['run'] for job in found['jobs'].values() for step in job['steps'] if 'run' in step
    ]
    for name in re.findall(r'tools/\w+\.sh', ' '.join(scripts)):
        assert (ROOT / name).is_file()


@pytest.mark.parametrize(
    'path',
    [p for p in repository_files('.github/*') if p.suffix == '.yml'],
    ids=str,
)
def test_github_files_are_valid_yaml(path):
    found = yaml.safe_load(text(path))
    if path.parent.name == 'ISSUE_TEMPLATE' and path.name != 'config.yml':
        assert {'name', 'description', 'body'} <= set(found)
        for item in found['body']:
            assert item['type'] in ('markdown', 'textarea', 'input', 'dropdown', 'checkboxes')
            assert item['attributes']['label']


def test_pre_commit_runs_the_checks_of_lint():
    config = yaml.safe_load(text('.pre-commit-config.yaml'))
    hooks = [hook['id'] for repo in config['repos'] for hook in repo['hooks']]
    lint = text('tools/lint.sh')
    names = {'codespell_lib': 'codespell'}
    modules = re.findall(r'"\$python" -m (\w+)(?: (\w+))?', lint)
    checks = {'-'.join(filter(None, (names.get(a, a), b))) for a, b in modules}
    assert checks | set(re.findall(r'"\$python"\)/([\w-]+)', lint)) == set(hooks)


def test_source_archive_has_the_files_of_the_repository():
    manifest = text('MANIFEST.in').split()
    packaged = {'LICENSE', 'MANIFEST.in', 'README.md', 'pyproject.toml', 'setup.py', 'mmaction'}
    for path in repository_files():
        assert path.parts[0] in manifest or str(path) in manifest or path.parts[0] in packaged, path


def test_files_without_git_are_those_with_it(monkeypatch):
    if not (ROOT / '.git').exists():
        pytest.skip('needs a checkout')
    with_git = repository_files()
    monkeypatch.setattr('tests.repository.shutil.which', lambda _: None)
    without = repository_files()
    assert set(with_git) <= set(without)
    extra = [str(path) for path in set(without) - set(with_git)]
    assert not [name for name in extra if Path(name).suffix in ('.py', '.md', '.yml', '.toml')]
