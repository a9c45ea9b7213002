import torch

from mmaction.models.utils.gpu import gpu_name


def test_name_of_the_gpu_or_nothing():
    expected = torch.cuda.get_device_name() if torch.cuda.is_available() else ''
    assert gpu_name(None) == expected
