import json
import sys

import torch

from tests.engine.toy import build_runner, short_config


def test_run_record_is_written(tmp_path):
    runner = build_runner(short_config(tmp_path, [dict(type='ProvenanceHook')]))
    runner.train()
    (path,) = tmp_path.glob('*/run.json')
    facts = json.loads(path.read_text())
    assert facts['command'][1:] == sys.argv
    assert facts['seed'] == 5
    assert facts['splits']['train'] == dict(
        clips=14, classes=4, lowest=0, highest=3, unlabeled=False
    )
    assert facts['versions']['torch'] == torch.__version__.split('+')[0]
    assert len(list(tmp_path.glob('*.py'))) == 1  # the full config
