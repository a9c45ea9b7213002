import json
import sys
from pathlib import Path

import pytest

from mmaction.apis import init_recognizer
from mmaction.config.load import load_config, lost_hooks, read_config
from mmaction.errors import ConfigError

CONFIG = """
data_root = '{{$TEST_DATA_ROOT:data/digits}}'
num_classes = 8
train_pipeline = [dict(type='DecordInit'), dict(type='SampleFrames', clip_len=8)]
model = dict(
    type='Recognizer3D',
    backbone=dict(type='DualFormer', arch='tiny'),
    cls_head=dict(type='I3DHead', num_classes=num_classes, in_channels=512),
)
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type='EpochSampler', shuffle=True),
    dataset=dict(
        type='VideoDataset', data_root=data_root, ann_file='train.txt', pipeline=train_pipeline
    ),
)
train_cfg = dict(by_epoch=True, max_epochs=8)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3),
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0)}),
)
param_scheduler = [dict(type='CosineAnnealingLR', T_max=8, by_epoch=True)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'digits.py'

    def write(more=''):
        path.write_text(CONFIG + more)
        return path

    write()
    return write


def test_missing_file_suggests_nearest(config):
    path = config()
    with pytest.raises(FileNotFoundError, match=r'did you mean .*digits\.py'):
        load_config(path.with_name('digit.py'))
    with pytest.raises(FileNotFoundError, match=r'folder .* does not exist'):
        load_config(path.parent / 'nowhere' / 'digits.py')


def test_config_that_raises_names_file_and_error(config):
    with pytest.raises(ConfigError, match=r'digits\.py cannot be read'):
        load_config(config('model = undefined_name'))


def test_options_can_add_known_keys(config):
    cfg = load_config(
        config(),
        ['model.backbone.pretrained=a file.pth', 'model.backbone.use_checkpoint=True', 'compile=1'],
    )
    assert cfg.model.backbone.pretrained == 'a file.pth'
    assert cfg.model.backbone.use_checkpoint is True


def test_items_of_lists_by_their_index(config):
    cfg = load_config(config(), ['param_scheduler.0.T_max=5'])
    assert cfg.param_scheduler[0].T_max == 5
    with pytest.raises(ConfigError, match='list of 1 item, so "3" must be an index from 0 to 0'):
        load_config(config(), ['param_scheduler.3.T_max=5'])


def test_data_root_option_reaches_every_dataset(config):
    cfg = load_config(config(), ['data_root=/my data'])
    assert cfg.train_dataloader.dataset.data_root == '/my data'


def test_data_root_of_a_child_that_no_dataset_reads_is_told(tmp_path, capsys):
    child = tmp_path / 'child.py'
    base = "_base_ = 'dualformer_pico_motion_digits'\ndata_root = '/my/clips'\n"
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    used = ''.join(f'{name} = dict(dataset=dict(data_root=data_root))\n' for name in loaders)
    for text, told in ((base, True), (base + used, False)):
        child.write_text(text)
        load_config(child)
        assert ("no dataset reads data_root='/my/clips'" in capsys.readouterr().err) == told


def test_data_root_by_the_environment(config, monkeypatch):
    assert load_config(config()).train_dataloader.dataset.data_root == 'data/digits'
    monkeypatch.setenv('TEST_DATA_ROOT', '/elsewhere')
    assert load_config(config()).train_dataloader.dataset.data_root == '/elsewhere'


def test_variable_override_reaches_derived_values(config):
    cfg = load_config(config(), ['train_pipeline.1.clip_len=16', 'num_classes=5'])
    assert cfg.train_dataloader.dataset.pipeline[1].clip_len == 16
    assert cfg.model.cls_head.num_classes == 5
    # The 8 of another meaning stays.
    assert cfg.train_cfg.max_epochs == 8


def test_overriding_an_unused_variable_warns(config, capsys):
    load_config(config('name = "x"\nwork_dir = f"work_dirs/{name}"\n'), ['name=y'])
    assert 'name=... changes a variable that nothing' in capsys.readouterr().err


def test_warnings_are_printed_by_rank_0_only(config, tmp_path, monkeypatch, capsys):
    child = tmp_path / 'child.py'
    child.write_text("_base_ = 'dualformer_pico_motion_digits'\ndata_root = '/my/clips'\n")
    unused = config('name = "x"\nwork_dir = f"work_dirs/{name}"\n')
    for rank, count in (('1', 0), ('0', 2)):
        monkeypatch.setenv('RANK', rank)
        load_config(child)
        load_config(unused, ['name=y'])
        assert capsys.readouterr().err.count('warning: ') == count


@pytest.mark.parametrize(
    ('option', 'message'),
    [
        ('gadget=1', r'no key "gadget", and nothing would read a new one: give the whole path'),
        ('model.backbone.drop_path_rat=1', 'DualFormer takes no argument.*"drop_path_rate"'),
        ('model.backbone.type=DualFormr', 'no class "DualFormr".*"DualFormer"'),
        ('optim_wraper.type=X', 'no key "optim_wraper"; did you mean "optim_wrapper"'),
        ('train_dataloader.batchsize=2', 'no key "batchsize"; did you mean "batch_size"'),
        ('train_dataloader.dataset.anfile=x', '"anfile"; did you mean "ann_file"'),
        ('train_dataloader.sampler.shufle=True', '"shufle"; did you mean "shuffle"'),
        ('train_pipeline.1.clip_length=8', '"clip_length"; did you mean "clip_len"'),
        ('train_cfg.max_epoch=3', 'no key "max_epoch"; did you mean "max_epochs"'),
        ('optim_wrapper.optimizer.learning_rate=1', 'AdamW takes no argument "learning_rate"'),
        ('optim_wrapper.accumulation=2', '"accumulation"; did you mean "accumulative_counts"'),
        ('optim_wrapper.paramwise_cfg.custom_key=1', 'did you mean "custom_keys"'),
        ('optim_wrapper.paramwise_cfg.custom_keys.norm.lrmult=1', 'did you mean "lr_mult"'),
        ('optim_wrapper.constructor=Defult', 'no constructor "Defult"'),
        ('param_scheduler.0.tmax=8', 'did you mean "T_max"'),
        ('default_hooks.checkpiont.interval=2', 'did you mean "checkpoint"'),
        ('default_hooks.checkpoint.intervall=2', 'did you mean "interval"'),
        ('randomness.sead=1', 'did you mean "seed"'),
        ('env_cfg.cudnn_bench=1', 'did you mean "cudnn_benchmark"'),
        ('compile.backnd=x', 'did you mean "backend"'),
        ('train_cfg.max_epochs.x=1', 'is 8, which has no key "x"'),
    ],
)
def test_misspelled_option_suggests_nearest(config, option, message):
    with pytest.raises(ConfigError, match=message):
        load_config(config(), [option])


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('optim_wraper = dict()', 'optim_wraper.*did you mean "optim_wrapper"'),
        ('train_dataloder = dict()', 'did you mean "train_dataloader"'),
        ('total_epochs = 30', 'mmaction2 0.x.*max_epochs'),
        ("val_evaluator = dict(type='AccMetrics')", 'did you mean "AccMetric"'),
        ("custom_hooks = [dict(type='EMAHook', ema_typ='x')]", 'did you mean "ema_type"'),
    ],
)
def test_misspelled_config_key_suggests_nearest(config, line, message):
    with pytest.raises(ConfigError, match=message):
        load_config(config(line))


def test_user_variables_are_kept(config):
    cfg = load_config(config('my_setting = dict(anything=1)\nclips_per_gpu = 8\nmodels = 3'))
    assert cfg.my_setting.anything == 1


def test_a_0x_config_is_recognised(tmp_path):
    path = tmp_path / 'old.py'
    path.write_text('lr_config = dict(policy="CosineAnnealing")\ndata = dict(videos_per_gpu=8)')
    with pytest.raises(ConfigError, match=r'old\.py.*mmaction2 0\.x.*key model is missing'):
        load_config(path)


CODE_IN_YAML = [
    '!!python/object/apply:os.mkdir ["{proof}"]',
    '!!python/object/new:os.mkdir ["{proof}"]',
    '!!python/name:os.system',
    '!!python/module:antigravity',
    '!!python/object/apply:subprocess.call [["mkdir", "{proof}"]]',
]


@pytest.mark.parametrize('value', CODE_IN_YAML)
@pytest.mark.parametrize('place', ['leaf.yaml', 'leaf.yml', 'base.yaml', 'base of Python'])
def test_code_in_yaml_is_not_run(tmp_path, value, place):
    proof = tmp_path / 'proof'
    text = f'work_dir: {value.format(proof=proof)}\n'
    path = tmp_path / ('base.yaml' if place.startswith('base') else place)
    path.write_text(text)
    leaf = path
    if place == 'base.yaml':
        leaf = tmp_path / 'leaf.yaml'
        leaf.write_text("_base_: ['base.yaml']\n")
    elif place == 'base of Python':
        leaf = tmp_path / 'leaf.py'
        leaf.write_text("_base_ = ['base.yaml']\n")
    with pytest.raises(ConfigError, match=r'leaf.* cannot be read as a config: .*python/'):
        load_config(leaf)
    assert not proof.exists()


@pytest.mark.parametrize('name', ['leaf.yaml', 'leaf.json'])
def test_data_cannot_ask_for_code(tmp_path, name):
    (tmp_path / 'base.py').write_text('import os\nos.mkdir("proof")\n')
    for key, value in (('_base_', '"base.py"'), ('custom_imports', '{"imports": ["base"]}')):
        (tmp_path / name).write_text(f'{{"{key}": {value}}}')
        with pytest.raises(ConfigError, match=f'{name} cannot be read .*{key}.*Python config'):
            load_config(tmp_path / name)
    assert not Path('proof').exists()


@pytest.mark.parametrize(
    ('key', 'kind'),
    [
        ('type', 'os.mkdir'),
        ('type', 'subprocess.check_output'),
        ('type', 'torchvision.io.os.mkdir'),
        ('type', 'timm.data.os.mkdir'),
        ('type', 'mmaction.utils.io.os.mkdir'),
        ('constructor', 'os.mkdir'),
    ],
)
@pytest.mark.parametrize('name', ['leaf.yaml', 'leaf.json'])
def test_types_of_data_are_not_imported(tmp_path, name, key, kind):
    path, proof = tmp_path / name, tmp_path / 'proof'
    backbone = {key: kind, 'path': str(proof), 'name': str(proof)}
    path.write_text(json.dumps(dict(model=dict(type='Recognizer3D', backbone=[backbone]))))
    with pytest.raises(ConfigError, match=f'{name}.*{key}: {kind} is in no registry'):
        init_recognizer(str(path), device='cpu')
    assert not proof.exists()


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('{model: {type: {{_base_.place}} }}', 'type: planted.Model is in no registry'),
        ('{model: {a: [{type: {{_base_.place}} }]}}', 'type: planted.Model is in no registry'),
        ('{default_scope: planted}', 'default_scope: planted is another package'),
        ('{model: {backbone: {_scope_: planted}}}', '_scope_: planted is another package'),
        ('{model: {teacher: {config: planted.py}}}', 'config: planted.py is code'),
        ('{compile: {options: {cpp.cxx: [planted]}}}', 'cpp.cxx: planted may be a program'),
    ],
)
def test_other_ways_to_code_from_data_are_refused(tmp_path, monkeypatch, text, reason):
    (tmp_path / 'planted').mkdir()
    for name in ('__init__.py', 'registry.py'):
        (tmp_path / 'planted' / name).write_text("open('proof', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'base.yaml').write_text('place: planted.Model\n')
    (tmp_path / 'leaf.yaml').write_text('_base_: base.yaml\n' + text[1:-1])
    with pytest.raises(ConfigError, match=f'leaf.yaml.*{reason}.*Python config'):
        load_config('leaf.yaml')
    assert not Path('proof').exists()


def test_type_without_a_dot_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / 'planted_module.py').write_text("open('proof', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'leaf.yaml').write_text('model: {type: planted_module}')
    with pytest.raises(ConfigError, match='no class "planted_module" is registered'):
        load_config('leaf.yaml')
    assert not Path('proof').exists()


@pytest.mark.parametrize(
    'kind', ['DualFormer', 'mmaction.DualFormer', 'torchvision.r3d_18', 'timm.resnet18.a1_in1k']
)
def test_registered_types_of_data_are_read(tmp_path, kind):
    path = tmp_path / 'leaf.yaml'
    path.write_text(f'model: {{type: Recognizer3D, backbone: {{type: {kind}}}}}')
    assert read_config(path).model.backbone.type == kind


def test_yaml_and_json_configs_are_read(tmp_path):
    from mmengine.fileio.handlers.registry_utils import file_handlers

    before = dict(file_handlers)
    (tmp_path / 'base.yaml').write_text('train_cfg: {by_epoch: true, max_epochs: 3}\n')
    (tmp_path / 'a.yaml').write_text("_base_: ['base.yaml']\ntrain_cfg: {max_epochs: 5}\n")
    (tmp_path / 'a.json').write_text('{"_base_": ["base.yaml"], "train_cfg": {"max_epochs": 5}}')
    for name in ('a.yaml', 'a.json'):
        assert load_config(tmp_path / name).train_cfg == dict(by_epoch=True, max_epochs=5)
    assert file_handlers == before
    (tmp_path / 'list.yaml').write_text('- 1\n')
    with pytest.raises(ConfigError, match='holds a list, expected keys and values'):
        load_config(tmp_path / 'list.yaml')


@pytest.mark.parametrize(
    ('hooks', 'is_told'),
    [
        ("[dict(type='EMAHook')]", True),
        ("[*_base_.custom_hooks, dict(type='EMAHook')]", False),
        ("[h for h in _base_.custom_hooks if h['type'] != 'CurveHook']", False),
        ('[]', False),
    ],
)
def test_custom_hooks_that_replace_those_of_the_base_are_told(tmp_path, capsys, hooks, is_told):
    (tmp_path / 'own.py').write_text(
        f"_base_ = 'dualformer_pico_motion_digits'\ncustom_hooks = {hooks}\n"
    )
    told = lost_hooks(load_config(tmp_path / 'own.py')) or ''
    assert ('custom_hooks of own.py replaces that of its base' in told) == is_told
    assert not capsys.readouterr().err  # which are no loss for a test


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, "'my_own_code' cannot be imported: .*not in PYTHONPATH, or it is not installed"),
        (
            'import os\nfrom mmcv.transforms import X\n',
            "my_own_code.py, line 2: No module named 'mmcv.*import BaseTransform from ",
        ),
        ('from os import nothing', 'my_own_code.py, line 1: cannot import name'),
        ('\n1 / 0', r'division by zero \(.*my_own_code.py, line 2\)'),
    ],
)
def test_custom_imports_that_fail(tmp_path, monkeypatch, content, message):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'my_own_code', raising=False)
    if content is not None:
        (tmp_path / 'my_own_code.py').write_text(content)
    leaf = tmp_path / 'leaf.py'
    leaf.write_text("custom_imports = dict(imports='my_own_code')\n")
    with pytest.raises(ConfigError, match=f'leaf.py cannot be read as a config: .*{message}'):
        load_config(leaf, check=False)
    leaf.write_text(
        "custom_imports = dict(imports=['my_own_code', 'wave'], allow_failed_imports=True)\n"
    )
    monkeypatch.delitem(sys.modules, 'wave', raising=False)
    if content and '/' in content:  # an error of another kind is never passed over
        with pytest.raises(ConfigError, match=message):
            load_config(leaf, check=False)
        return
    with pytest.warns(UserWarning, match=message):
        load_config(leaf, check=False)
    assert 'wave' in sys.modules


def test_custom_imports_of_mmpretrain_name_what_takes_its_place(tmp_path):
    leaf = tmp_path / 'leaf.py'
    leaf.write_text("custom_imports = dict(imports=['mmpretrain.models'])\n")
    message = r'custom_imports: "mmpretrain.models" needs mmpretrain, .* such as "timm\.'
    with pytest.raises(ConfigError, match=message):
        load_config(leaf, check=False)


def test_custom_imports_of_an_installed_package_that_lacks_another(tmp_path, monkeypatch):
    installed = tmp_path / 'site-packages'
    installed.mkdir()
    (installed / 'my_installed_code.py').write_text('import not_there')
    monkeypatch.syspath_prepend(installed)
    leaf = tmp_path / 'leaf.py'
    leaf.write_text("custom_imports = dict(imports=['my_installed_code'])\n")
    with pytest.raises(ConfigError, match=r"cannot be imported: No module named 'not_there'"):
        load_config(leaf, check=False)


@pytest.mark.parametrize('value', ['3', "['a']", 'dict(imports=3)', 'dict(import_="a")'])
def test_custom_imports_of_another_form(tmp_path, value):
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(f'custom_imports = {value}\n')
    with pytest.raises(ConfigError, match=r'custom_imports: expected dict\(imports='):
        load_config(leaf, check=False)
