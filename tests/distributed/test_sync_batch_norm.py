import pytest
import torch

from mmaction.distributed.sync_batch_norm import CpuSyncBatchNorm, synchronize_batch_norm
from mmaction.errors import ConfigError
from mmaction.models.common.layers import SyncBatchNorm
from tests.engine.toy import Run, toy_config
from tests.processes import context


@pytest.mark.dist
def test_batch_norm_statistics_equal_on_all_ranks(tmp_path):
    cfg = toy_config(tmp_path)
    cfg.custom_hooks.append(dict(type='SaveBuffers'))
    Run(cfg, 2).check()
    first, second = (torch.load(tmp_path / f'buffers_{rank}.pth') for rank in (0, 1))
    assert len(first) == 3
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_sync_bn_rejects_unknown_values(tmp_path):
    with pytest.raises(ConfigError, match="sync_bn is 'torch' or False, not 'mmcv'"):
        synchronize_batch_norm(torch.nn.BatchNorm3d(2), 'mmcv', 'cpu')
    assert (
        type(synchronize_batch_norm(torch.nn.BatchNorm3d(2), False, 'cpu')) is torch.nn.BatchNorm3d
    )


@pytest.mark.parametrize('kind', [torch.nn.BatchNorm3d, SyncBatchNorm])
def test_replaced_layer_keeps_settings_state_and_mode(kind):
    """Also one that a config calls SyncBN, which would be that of its own process on a CPU."""
    layer = kind(2, eps=0.25, momentum=None)
    layer.weight.requires_grad_(False)
    layer.running_mean += 3
    layer.eval()
    (new,) = synchronize_batch_norm(torch.nn.Sequential(layer), 'torch', 'cpu')
    assert type(new) is CpuSyncBatchNorm
    assert (new.eps, new.momentum, new.training) == (0.25, None, False)
    assert not new.weight.requires_grad
    assert new.bias.requires_grad
    assert list(new.state_dict()) == list(layer.state_dict())
    clips = torch.randn(2, 2, 3, 4, 4)
    assert torch.equal(new(clips), layer(clips))


def take_two_steps(layer, clips):
    """Output and gradient of the second of two steps."""
    layer(clips)
    clips = clips.clone().requires_grad_()
    output = layer(clips)
    output.square().mul(torch.arange(4.0)).sum().backward()
    return output.detach(), clips.grad


def one_of_two_ranks(rank, folder, clips, momentum):
    """The first rank has a third of the clips, the second the others."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2
    )
    layer = CpuSyncBatchNorm(2, momentum=momentum)
    mine = clips[:2] if rank == 0 else clips[2:]
    found = (*take_two_steps(layer, mine), layer.state_dict())
    torch.save(found, f'{folder}/{rank}.pth')
    torch.distributed.destroy_process_group()


@pytest.mark.dist
@pytest.mark.parametrize('momentum', [0.1, None])
def test_ranks_with_unequal_batches_equal_one_batch(tmp_path, momentum):
    """Outputs, gradients, running statistics and counts are those of plain BatchNorm."""
    clips = torch.randn(6, 2, 3, 4) * 3 + 2
    plain = torch.nn.BatchNorm2d(2, momentum=momentum)
    output, gradient = take_two_steps(plain, clips)
    ranks = [
        context.Process(target=one_of_two_ranks, args=(rank, tmp_path, clips, momentum))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    parts = [torch.load(tmp_path / f'{rank}.pth') for rank in range(2)]
    close = dict(rtol=1e-4, atol=1e-5)  # sums of the same numbers in another order
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), output, **close)
    torch.testing.assert_close(torch.cat([part[1] for part in parts]), gradient, **close)
    for part in parts:
        for name, value in plain.state_dict().items():
            torch.testing.assert_close(part[2][name], value, **close)
