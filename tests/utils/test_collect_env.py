import torch


def test_collect_env_names_the_versions():
    from mmaction.utils import collect_env

    found = collect_env()
    assert found['MMAction2'].startswith('1.3.0')
    assert found['PyTorch'] == torch.__version__
    assert all(isinstance(value, str) for value in found.values())
