"""`migrate_config.py` and `print_config.py`, and a 0.x config as a user runs it."""

import json
import re
import shutil
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from mmaction.config.legacy import OLD_KEYS, convert_old_config, is_old_config
from mmaction.config.load import load_config, read_config
from tests.legacy_configs import write_published
from tests.tools.running import run_tool

ROOT = Path(__file__).parents[2]


def tool(name):
    path = ROOT / 'tools' / f'{name}.py'
    spec = spec_from_file_location(path.stem, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


migrate = tool('misc/migrate_config').main
print_config = tool('analysis_tools/print_config').main


def plain(cfg):
    return cfg._cfg_dict.to_dict()


# All ten published files: config/test_published_configs.py.
@pytest.mark.parametrize(
    'name',
    [
        'pico',
        'dualformer_tiny_tokenlabel_patch244_window877_kinetics400_1k',
        'dualformer_small_patch244_window877_hmdb51',
    ],
)
def test_the_new_form_is_read_as_the_old_one(pico, name, tmp_path, capsys):
    old = pico if name == 'pico' else write_published(name, tmp_path)
    new = tmp_path / 'new.py'
    migrate([str(old), str(new)])
    printed = capsys.readouterr()
    assert printed.out.startswith(f'written: {new} (')
    if name != 'pico':
        keys = 'optimizer_config.coalesce, optimizer_config.bucket_size_mb'
        assert printed.err == f'note: not needed, so left out: {keys}\n'
    assert not is_old_config(read_config(new))
    assert plain(load_config(new)) == plain(load_config(old))
    text = new.read_text()
    assert text.startswith(f'# {old.name} of mmaction2 0.x, in the form of 1.x.\n')
    # Each pipeline is written once.
    assert len(re.findall(r"type='SampleFrames'", text)) == 3
    assert 'Normalize' not in text


def test_migrated_config_inherits_runtime_base(pico, tmp_path, monkeypatch):
    """The shared runtime settings are a base, at their place from the new file."""
    shared = tmp_path / 'configs' / '_base_' / 'default_runtime.py'
    shared.parent.mkdir(parents=True)
    shutil.copy(ROOT / 'configs' / '_base_' / 'default_runtime.py', shared)
    monkeypatch.setattr('mmaction.config.legacy.runtime.runtime_file', lambda: shared)
    new = tmp_path / 'configs' / 'recognition' / 'mine' / 'new.py'
    new.parent.mkdir(parents=True)
    migrate([str(pico), str(new)])
    text = new.read_text()
    assert "_base_ = '../../_base_/default_runtime.py'\n" in text
    assert 'StopHook' not in text
    assert 'default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))\n' in text
    assert plain(load_config(new)) == plain(load_config(pico))


def test_dropped_keys_are_listed_in_the_new_file(pico, tmp_path, capsys):
    old = tmp_path / 'old.py'
    old.write_text(f"_base_ = '{pico.as_posix()}'\nworkflow = [('train', 1), ('val', 1)]\n")
    migrate([str(old), str(tmp_path / 'new.py')])
    line = "warning: workflow=[('train', 1), ('val', 1)] has no counterpart"
    assert line in capsys.readouterr().err
    assert f'\n# {line}' in (tmp_path / 'new.py').read_text()


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('missing.py', 'new.py', 'there is no config file .*missing.py'),
        ('new_form.py', 'new.py', 'new_form.py has none of the keys of an mmaction2 0.x config'),
        ('broken.py', 'new.py', 'broken.py cannot be read as a config'),
        ('misspelt.py', 'new.py', 'data.videos_per_gp: .*did you mean "videos_per_gpu"'),
        ('misspelt_model.py', 'new.py', 'DualFormer takes no argument "drop_path".*did you mean'),
        ('old.py', 'exists.py', 'exists.py exists: choose another name, or give --overwrite'),
        ('old.py', 'new.txt', 'new.txt: a config file ends in .py'),
        ('old.py', 'nowhere/new.py', 'there is no folder .*nowhere to write new.py to'),
        ('old.py', 'old.py', 'old.py is the old config itself'),
    ],
)
def test_bad_input_is_one_error(pico, tmp_path, capsys, old, new, message):
    base = f"_base_ = '{pico.as_posix()}'\n"
    (tmp_path / 'old.py').write_text(base)
    (tmp_path / 'exists.py').write_text('mine = 1\n')
    (tmp_path / 'new_form.py').write_text('model = dict()\n')
    (tmp_path / 'broken.py').write_text('data = dict(\n')
    (tmp_path / 'misspelt.py').write_text(base + 'data = dict(videos_per_gp=3)\n')
    (tmp_path / 'misspelt_model.py').write_text(
        base + 'model = dict(backbone=dict(drop_path=0.1))\n'
    )
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stop:
        migrate([str(tmp_path / old), str(tmp_path / new)])
    assert stop.value.code in (1, 2)
    told = capsys.readouterr().err
    assert re.search(message, told), told
    assert told.startswith('error: ')
    assert told.count('\n') == 1
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / 'exists.py').read_text() == 'mine = 1\n'


def test_overwrite(pico, tmp_path):
    new = tmp_path / 'new.py'
    new.write_text('mine = 1\n')
    migrate([str(pico), str(new), '--overwrite'])
    assert 'mine' not in new.read_text()


@pytest.mark.parametrize('form', ['old', 'new'])
def test_a_printed_config_is_a_config(pico, tmp_path, capsys, form):
    leaf = ROOT / 'configs/recognition/dualformer/dualformer_pico_motion_digits.py'
    config = pico if form == 'old' else leaf
    print_config([str(config), '--cfg-options', 'model.backbone.drop_path_rate=0.3'])
    printed = tmp_path / 'printed.py'
    printed.write_text(capsys.readouterr().out)
    wanted = load_config(config, ['model.backbone.drop_path_rate=0.3'])
    assert plain(load_config(printed)) == plain(wanted)
    assert wanted.model.backbone.drop_path_rate == 0.3


def test_print_config_names_a_misspelt_option(pico, capsys):
    with pytest.raises(SystemExit):
        print_config([str(pico), '--cfg-options', 'total_epoch=3'])
    assert 'did you mean "total_epochs"' in capsys.readouterr().err


def test_an_old_config_trains_and_its_new_form_tests(pico, tmp_path):
    run_tool(
        'data/motion_digits/make_motion_digits.py',
        *('--out', tmp_path / 'data', '--train-clips', 16, '--val-clips', 8, '--workers', 1),
        cwd=tmp_path,
    )
    done = run_tool(
        'train.py',
        *(pico, '--work-dir', tmp_path / 'run', '--seed', 0, '--cfg-options'),
        *(f'data_root={tmp_path}/data', f'ann_file_train={tmp_path}/data/train.txt'),
        *(f'ann_file_val={tmp_path}/data/val.txt', 'data.videos_per_gpu=8'),
        'lr_config.warmup_iters=1',
        cwd=tmp_path,
    )
    assert 'has the form of mmaction2 0.x' in done.stderr
    assert 'batch: 8 clips per update (4 per process x 2 steps accumulated)' in done.stdout
    validated = re.search(r'acc/top1: ([\d.]+)', done.stdout).group(1)

    # The config that a run leaves behind has the new form.
    (left,) = (tmp_path / 'run').glob('*.py')
    assert not is_old_config(read_config(left))
    new = tmp_path / 'new.py'
    migrate([str(pico), str(new)])
    done = run_tool(
        'test.py',
        *(new, tmp_path / 'run/epoch_1.pth', '--work-dir', tmp_path / 'test', '--cfg-options'),
        *(f'test_dataloader.dataset.ann_file={tmp_path}/data/val.txt',),
        f'test_dataloader.dataset.data_prefix.video={tmp_path}/data',
        cwd=tmp_path,
    )
    metrics = json.loads((tmp_path / 'test/metrics.json').read_text())
    assert metrics['top1_acc'] == pytest.approx(float(validated), abs=1e-4)


def test_notes_of_the_conversion_are_those_of_the_run(tmp_path, capsys):
    old = write_published('dualformer_tiny_patch244_window877_kinetics400_1k', tmp_path)
    _, notes = convert_old_config(read_config(old))
    load_config(old)
    assert capsys.readouterr().err.splitlines()[1:] == notes != []


def known_options(script):
    """Options that `--help` lists; a shell script hands its options to the tool of its name."""
    script = re.sub(r'dist_(\w+)\.sh$', r'\1.py', script)
    return re.findall(r'--[\w-]+', run_tool(f'../{script}', '--help').stdout)


def test_the_guide_names_every_key_and_only_options_that_exist():
    guide = (ROOT / 'docs' / 'migration.md').read_text()
    for key in OLD_KEYS:
        assert f'`{key}' in guide, key
    commands = [
        line.split() for block in re.findall('```bash\n(.*?)```', guide, re.S)
        for line in block.splitlines()
    ]  # fmt: skip
    assert len(commands) == 6
    for _, script, *arguments in commands:
        assert (ROOT / script).is_file()
        for option in re.findall(r'--[\w-]+', ' '.join(arguments)):
            assert option in known_options(script), (script, option)
    absent = {'--fuse-conv-bn', '--onnx', '--tensorrt', '--show', '--wait-time'}
    absent.add('--gpus')  # accepted to say what takes its place, not offered
    for script, options in re.findall(r'\| `(train|test)\.py ([^`]*)`', guide):
        for option in options.split():
            known = option in known_options(f'tools/{script}.py')
            assert known != (option in absent), option
