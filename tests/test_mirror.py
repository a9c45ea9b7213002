"""Each module has a test file of its name, so that a reader finds its tests."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / 'mmaction'

# What is tested as one thing: the modules, and the file that has their tests.
READERS = 'datasets/decoders/test_readers.py'
NETWORKS = 'models/zoo/test_zoo.py'
TOGETHER = {
    'each reader against the frames that were written': (
        READERS,
        'datasets/decoders/checked_reader.py datasets/decoders/container.py '
        'datasets/decoders/decord_reader.py datasets/decoders/opencv_reader.py '
        'datasets/decoders/packet_table.py datasets/decoders/pyav_reader.py '
        'datasets/decoders/reader.py datasets/decoders/torchcodec_reader.py',
    ),
    'files of cameras and editors, which turn their frames': (
        'datasets/decoders/test_real_life.py',
        'datasets/decoders/upright.py',
    ),
    'each network against the outputs of mmaction2': (
        NETWORKS,
        'models/backbones/c3d.py models/backbones/mobilenet_v2.py models/backbones/resnet.py '
        'models/backbones/resnet3d.py models/backbones/resnet3d_slowfast.py '
        'models/backbones/tanet.py models/backbones/x3d.py models/heads/cnn3d_heads.py '
        'models/heads/tsn_head.py models/necks/tpn.py',
    ),
    'building blocks of the CNNs': (
        'models/common/test_cnn.py',
        'models/common/layers.py models/common/non_local.py models/common/tam.py',
    ),
    'base classes, by what inherits from them': (
        'models/recognizers/test_recognizer3d.py',
        'models/recognizers/base.py models/heads/base.py models/losses/base.py',
    ),
    'the Triton kernels, in the interpreter': (
        'models/utils/test_position_ops.py',
        'models/utils/position_triton.py',
    ),
    'a run from its config to its checkpoints': (
        'engine/runner/test_runner.py',
        'engine/runner/checkpointing.py engine/optimizers/constructor.py',
    ),
    'runs of three ranks, which end with the same bits however often they are killed': (
        'engine/runner/test_shard_runs.py',
        'engine/runner/bucket_layout.py',
    ),
    "calls at arm's length": (
        'utils/test_isolated_call.py',
        'utils/forked_call.py utils/watchdog.py',
    ),
    'the check of a config': (
        'config/test_check.py',
        'config/known_keys.py config/registered_types.py',
    ),
    'the conversion of a 0.x config': ('config/legacy/test_convert.py', 'config/legacy/keys.py'),
    'the preparation of a dataset': (
        'data_preparation/test_pipeline.py',
        'data_preparation/file_lists.py data_preparation/reencode.py data_preparation/schema.py',
    ),
    'predictions in parts, and the parts of several machines brought together': (
        'apis/test_bulk_prediction.py',
        'cli/merge.py utils/prediction_parts.py',
    ),
    'the shares of several machines': (
        'data_preparation/test_shares.py',
        'data_preparation/share_records.py',
    ),
    'features of a frozen backbone, kept in files and trained on': (
        'apis/test_features.py',
        'cli/features.py datasets/feature_dataset.py datasets/feature_store.py '
        'models/backbones/stored_features.py',
    ),
    'probes on features': (
        'engine/test_probe.py',
        'apis/probe.py cli/probe.py models/heads/probe_heads.py',
    ),
    'fine-tuning on own clips': (
        'cli/test_finetune.py',
        'apis/finetune/summary.py apis/finetune/training.py',
    ),
    'checkpoints made ready for others': ('apis/test_publish.py', 'cli/publish.py'),
    'backbones of transformers': (
        'models/backbones/test_transformers_backbone.py',
        'utils/transformers_folder.py',
    ),
    'shards, written and read': (
        'datasets/test_shard_dataset.py',
        'data_preparation/packing.py datasets/shard_index.py cli/pack.py',
    ),
    'transforms as classes of one base': (
        'datasets/transforms/test_processing.py',
        'datasets/transforms/base.py',
    ),
    'the inferencers': (
        'apis/inferencers/test_actionrecog_inferencer.py',
        'apis/inferencers/mmaction2_inferencer.py datasets/transforms/inference_input.py',
    ),
    'commands, run through `mmaction` and through tools/': (
        'cli/test_main.py',
        '__main__.py apis/report.py cli/build_file_list.py cli/export.py cli/info.py '
        'cli/prepare.py cli/prepare_dataset.py cli/prepare_videos.py',
    ),
    'training and testing as a user runs them': (
        'tools/test_train_and_test.py',
        'cli/test.py cli/train.py testing.py',
    ),
    'names of mmaction2': (
        'test_mmaction2_names.py',
        'structures/typing.py utils/setup_env.py utils/typing_utils.py',
    ),
    'files on other machines': (
        'utils/test_remote.py',
        'utils/file_backend.py utils/file_cache.py utils/file_types.py utils/remote_access.py',
    ),
}
ELSEWHERE = {module: file for file, modules in TOGETHER.values() for module in modules.split()}


def has_code(path):
    """Whether a module defines something, rather than bring names together."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    return any(
        isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)) for n in tree.body
    )


def modules():
    for path in sorted(PACKAGE.rglob('*.py')):
        if path.name != '__init__.py' or has_code(path):
            yield path.relative_to(PACKAGE)


def own_test(module):
    return module.parent / f'test_{module.stem}.py'


def test_each_module_has_its_tests_at_its_place():
    missing = [
        module.as_posix()
        for module in modules()
        if module.name != '__init__.py'
        and not (TESTS / own_test(module)).exists()
        and module.as_posix() not in ELSEWHERE
    ]
    assert missing == [], f'write tests/.../test_NAME.py for {missing}'


@pytest.mark.parametrize('module', ELSEWHERE)
def test_exceptions_are_true(module):
    assert (PACKAGE / module).exists()
    assert (TESTS / ELSEWHERE[module]).exists()
    assert not (TESTS / own_test(Path(module))).exists(), 'it has a file of its own by now'
