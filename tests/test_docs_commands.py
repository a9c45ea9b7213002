"""The documentation: every command is one that the tools take, every config snippet is Python."""

import argparse
import ast
import functools
import re
import shlex
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import pytest
import torch

from mmaction.cli.main import VERBS
from mmaction.config.load import load_config
from mmaction.registry import MODELS
from mmaction.utils.cli import Parser
from tests.legacy_configs import write_published

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'checkpoints' / 'README.md']
PAGES += sorted((ROOT / 'docs').glob('*.md'))
BLOCK = re.compile(r'^( *)```(\w*)\n(.*?)^ *```', re.MULTILINE | re.DOTALL)
# To which tool the shell scripts hand on, and what stands first on their command line.
SCRIPTS = {
    'tools/dist_train.sh': ('tools/train.py', ['config', 'gpus']),
    'tools/dist_test.sh': ('tools/test.py', ['config', 'checkpoint', 'gpus']),
    'tools/slurm_train.sh': ('tools/train.py', ['partition', 'job', 'config', '--work-dir']),
    'tools/slurm_test.sh': ('tools/test.py', ['partition', 'job', 'config', 'checkpoint']),
}
OTHER_SCRIPTS = {
    'tools/quickstart.sh': r'(--seed \d+)?',
    'tools/lint.sh': '',
    'tools/run_tests.sh': '.*',
    'tools/misc/pack_wheels.sh': r'(--python [\d.]+ )?\S+( [\w.-]+)*',
}
USUAL = 'dualformer_tiny_patch244_window877_kinetics400_1k.py'
PLACEHOLDERS = dict(N='1', GPUS='1', METRIC='top_k_accuracy', DATASET='kinetics400')
LEAF = ROOT / 'configs' / 'recognition' / 'dualformer' / USUAL


class Parsed(Exception):  # noqa: N818
    """Ends a tool once it has read its command line."""


class Refused(Exception):  # noqa: N818
    """What a tool says of a command line that it does not take."""


def parse(module, script, arguments):
    """What a tool makes of arguments, by its own parser; nothing is run.

    Raises:
        Refused: It does not take them.
    """
    found = []
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, *args, **kwargs):
        found.extend([original(self, *args, **kwargs), self])
        raise Parsed

    def error(self, message):
        raise Refused(message)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', parse_args)
        patch.setattr(argparse.ArgumentParser, 'error', error)
        patch.setattr(Parser, 'error', error)
        patch.setattr(sys, 'argv', [script, *arguments])
        module = import_module(module)
        with pytest.raises(Parsed):
            getattr(module, 'parse_args', module.main)()
    return found


def filled(arguments):
    """Placeholders filled in; marks of optional arguments left out."""
    plain = []
    for argument in arguments:
        if '=' not in argument:
            argument = argument.strip('[]')
        if argument not in ('...', 'options', ''):
            plain.append(PLACEHOLDERS.get(argument, argument))
    return plain


def commands(text):
    """The commands of a block of shell, each a list of words; variables are replaced."""
    text = text.replace('\\\n', ' ')
    known = {}
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars='&|;<>')
        lexer.whitespace_split = True
        lexer.commenters = '#'
        words, command = list(lexer), []
        for word in [*words, ';']:
            if not set(word) <= set('&|;<>') or not word:
                command.append(re.sub(r'\$\{?(\w+)\}?', lambda m: known.get(m[1], 'x'), word))
                continue
            if command[:1] == ['for']:
                known[command[1]] = command[3]
            while command and (re.match(r'\w+=', command[0]) or command[0] in ('do', 'exec')):
                name, is_set, value = command.pop(0).partition('=')
                if is_set:
                    known[name] = value
            if command:
                yield command
            command = []


def commands_of(page):
    """All commands of a page: blocks of shell, indented blocks, and code in the text."""
    text = page.read_text('utf-8')
    for _, language, block in BLOCK.findall(text):
        if language in ('bash', 'sh', 'shell', 'console'):
            yield from commands(block)
    rest = BLOCK.sub('', text)
    indented = [
        line
        for line in rest.replace('\\\n', ' ').splitlines()
        if re.match(r' +(python|bash) \S+\.(py|sh)', line)
    ]
    yield from commands('\n'.join(indented))
    for code in re.findall(r'`([^`]+)`', rest.replace('\n', ' ')):
        # Without arguments it only names the tool.
        if re.match(r'(\w+=\S+ )*((python|bash) \S+\.(py|sh)|mmaction [a-z]+) .', code):
            yield from commands(code.replace('\\|', '|').partition(' | ')[0])


def check(command):
    """Hold a command against the tools.

    Raises:
        Refused: A tool does not take it, or a file of the repository is not there.
    """
    program, *arguments = filled(command)
    if program == 'mmaction' and arguments:
        verb, *arguments = arguments
        if verb not in VERBS:
            raise Refused(f'there is no verb {verb}')
        parse(f'mmaction.cli.{VERBS[verb][0]}', verb, arguments)
        return
    if program not in ('python', 'python3', 'bash') or not arguments:
        return
    script = arguments.pop(0).removeprefix('./')
    if script.startswith(('-', '/')):
        return
    if not (ROOT / script).is_file():
        raise Refused(f'there is no {script}')
    for word in arguments:
        ours = re.fullmatch(r'(configs|tools|demo|tests)/[\w/.-]+\.\w+', word)
        if ours and 'my_' not in word and not (ROOT / word).exists():
            raise Refused(f'there is no {word}')
    if script in OTHER_SCRIPTS:
        if not re.fullmatch(OTHER_SCRIPTS[script], ' '.join(arguments)):
            raise Refused(f'{script} does not take {arguments}')
        return
    if script in SCRIPTS:
        script, places = SCRIPTS[script]
        if len(arguments) < len(places):
            raise Refused(f'{script} is started with {places}, found {arguments}')
        first, rest = arguments[: len(places)], arguments[len(places) :]
        given = dict(zip(places, first, strict=True))
        arguments = [given[place] for place in ('config', 'checkpoint') if place in given]
        arguments += ['--work-dir', given['--work-dir']] if '--work-dir' in given else []
        arguments += rest
    elif not script.endswith('.py'):
        raise Refused(f'what does {script} take? Add it to this test')
    module = script.removesuffix('.py').replace('/', '.')
    args, _ = parse(module, script, arguments)
    options = getattr(args, 'cfg_options', None)
    if isinstance(options, list) and options and hasattr(args, 'config'):
        config = ROOT / str(args.config)
        with tempfile.TemporaryDirectory() as folder:
            if str(args.config) == 'OLD.py':
                config = write_published(LEAF.stem, folder)
            load_config(config if config.is_file() else LEAF, options)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_commands_are_taken_by_the_tools(page, capsys):
    for command in commands_of(page):
        try:
            check(command)
        except Exception as error:
            pytest.fail(f'{page.name}: {shlex.join(command)}: {error}')


def test_many_commands_are_found():
    """The pages are read as they are meant."""
    found = [command for page in PAGES for command in commands_of(page)]
    tools = {
        word for command in found for word in command[:2] if word.startswith(('tools/', 'demo/'))
    }
    assert len(found) > 80
    assert len(tools) > 20


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('python tools/train.py CONFIG --sed 1', None),
        ('python tools/train.py CONFIG --seeed 1', 'seeed'),
        ('bash tools/dist_train.sh CONFIG', 'is started with'),
        ('bash tools/dist_test.sh CONFIG X.pth 8 --evl top_k_accuracy', 'evl'),
        ('bash tools/dist_test.sh CONFIG X.pth 8 --eval top_5', 'invalid choice'),
        ('python tools/tran.py CONFIG', 'there is no tools/tran.py'),
        ('python tools/train.py configs/no.py', 'there is no configs/no.py'),
        ('python tools/train.py CONFIG --cfg-options train_dataloader.bach_size=3', 'batch_size'),
        ('bash tools/quickstart.sh --sed 1', 'does not take'),
        ('x=--seeed; python tools/train.py CONFIG $x 1', 'seeed'),
        ('A=1 python tools/train.py CONFIG \\\n  --seeed 1  # why', 'seeed'),
    ],
)
def test_wrong_commands_are_found(text, message):
    (command,) = commands(text)
    if message is None:
        # argparse takes a beginning that only one option has.
        with pytest.raises(Refused, match='sed'):
            check(command)
        return
    with pytest.raises(Exception, match=message):
        check(command)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_snippets_are_python(page):
    for indent, language, block in BLOCK.findall(page.read_text('utf-8')):
        if language == 'python':
            ast.parse('\n'.join(line.removeprefix(indent) for line in block.splitlines()))


@functools.cache
def all_options():
    """The options of all verbs, tools and demos."""
    found = {'--help'}
    shared = [ROOT / 'mmaction' / 'utils' / name for name in ('cli.py', 'work_share.py')]
    scripts = (
        path
        for folder in ('mmaction/cli', 'tools', 'demo')
        for path in (ROOT / folder).rglob('*.py')
    )
    for script in [*shared, *scripts]:
        text = script.read_text('utf-8')
        found |= set(re.findall(r"'(--[\w-]+)'", text))
        both_ways = re.findall(r"'--([\w-]+)',\s+action=argparse.BooleanOptionalAction", text)
        found |= {f'--no-{name}' for name in both_ways}
    return found


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_options_in_the_text_exist(page):
    rest = BLOCK.sub('', page.read_text('utf-8'))
    named = re.findall(r'`(--[a-z][\w-]*)', rest)
    outside = {'--gpus', '--shm-size', '--build-arg', '--fuse-conv-bn', '--onnx', '--tensorrt'}
    outside |= {'--show', '--show-dir', '--interval', '--wait-time'}
    assert set(named) - outside <= all_options()


def test_custom_modules_of_the_page_are_built(tmp_path, monkeypatch):
    page = (ROOT / 'docs' / 'custom_modules.md').read_text()
    module, config, *_ = (code for _, language, code in BLOCK.findall(page) if language == 'python')
    for name, content in (
        ('my_lab/__init__.py', ''),
        ('my_lab/models.py', module),
        ('my_config.py', config),
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    monkeypatch.syspath_prepend(tmp_path)
    model = MODELS.build(load_config(tmp_path / 'my_config.py').model)
    (sample,) = model(torch.zeros(1, 2, 3, 4, 8, 8), mode='predict')
    assert sample.pred_score.shape == (8,)
