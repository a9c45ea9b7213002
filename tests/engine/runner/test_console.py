import logging

from tests.engine.toy import build_runner, log_of, short_config, toy_config


def test_console_is_brief_and_log_file_complete(tmp_path, capsys):
    runner = build_runner(short_config(tmp_path))
    runner.train()
    shown = capsys.readouterr().out
    assert 'Hooks will be executed' not in shown
    assert 'Hooks will be executed' in log_of(runner)
    runner.logger.log(logging.WARNING, 'mind this')
    assert 'WARNING: mind this' in capsys.readouterr().out


def test_names_that_are_not_utf8_are_logged(tmp_path, capfd):
    runner = build_runner(toy_config(tmp_path))
    runner.logger.warning('clip g\udcff.mp4 cannot be read')
    assert 'clip g\\udcff.mp4 cannot be read' in next(tmp_path.glob('*/*.log')).read_text()
    assert 'Logging error' not in capfd.readouterr().err
