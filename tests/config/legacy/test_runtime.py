"""Hooks and loggers of 0.x configs."""

import pytest


@pytest.mark.parametrize(
    ('package', 'backends'), [('math', ['LocalVisBackend', 'TensorboardVisBackend']),
                              ('no_such_package', ['LocalVisBackend'])],
)  # fmt: skip
def test_tensorboard_only_if_installed(changed, capsys, monkeypatch, package, backends):
    from mmaction.config.legacy import runtime

    monkeypatch.setitem(runtime._PACKAGES, 'TensorboardVisBackend', package)
    cfg = changed(
        "log_config = dict(hooks=[dict(type='TextLoggerHook'), dict(type='TensorboardLoggerHook')])"
    )
    assert [backend.type for backend in cfg.visualizer.vis_backends] == backends
    missing = 'TensorboardVisBackend is left out' in capsys.readouterr().err
    assert missing == (len(backends) == 1)
