from tests.engine.toy import build_runner, last_checkpoint, short_config


def test_training_curve_is_drawn(tmp_path):
    cfg = short_config(tmp_path, [dict(type='CurveHook')])
    cfg.train_cfg.max_epochs = 2
    runner = build_runner(cfg)
    runner.train()
    assert (tmp_path / 'curve.png').read_bytes()[:4] == b'\x89PNG'
    assert runner.message_hub.get_info('steps_of_val') == [7, 14]


def test_step_of_a_validation_is_in_the_checkpoint_that_it_saves(tmp_path):
    """So that a resumed run draws its score at this step."""
    build_runner(short_config(tmp_path, [dict(type='CurveHook')])).train()
    assert last_checkpoint(tmp_path)['message_hub']['runtime_info']['steps_of_val'] == [7]
