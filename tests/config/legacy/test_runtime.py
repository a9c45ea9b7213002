"""Hooks and loggers of 0.x configs."""

import pytest


@pytest.mark.parametrize(
    ('spec', 'backends'),
    [('spec', ['LocalVisBackend', 'TensorboardVisBackend']), (None, ['LocalVisBackend'])],
)
def test_tensorboard_only_if_installed(changed, capsys, monkeypatch, spec, backends):
    monkeypatch.setattr('mmaction.config.legacy.runtime.find_spec', lambda _: spec)
    cfg = changed(
        "log_config = dict(hooks=[dict(type='TextLoggerHook'), dict(type='TensorboardLoggerHook')])"
    )
    assert [backend.type for backend in cfg.visualizer.vis_backends] == backends
    missing = 'TensorboardVisBackend is left out' in capsys.readouterr().err
    assert missing == (len(backends) == 1)
