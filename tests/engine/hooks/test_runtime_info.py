from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

from mmaction.engine.hooks import runtime_info
from mmaction.engine.hooks.runtime_info import RuntimeInfoHook


@pytest.mark.parametrize('interval', [1, 3, 4])
def test_values_are_averaged_once_per_reading_and_logged_for_each_step(monkeypatch, interval):
    """As in a second rank whose values are larger by 2."""
    calls = []

    def reduce_mean(values):
        calls.append(len(values))
        return {name: value + 1 for name, value in values.items()}

    monkeypatch.setattr(runtime_info, 'reduce_mean', reduce_mean)
    runner = SimpleNamespace(
        message_hub=MessageHub.get_instance(f'test of runtime info {interval}'),
        optim_wrapper=SimpleNamespace(norm=None, grad_name='grad_norm'),
        reading_interval=interval,
        train_dataloader=range(8),
        iter=0,
        max_iters=100,
    )
    hook = RuntimeInfoHook()
    for step in range(8):
        runner.optim_wrapper.norm = torch.tensor([0.5, float('inf')][step == 4])
        hook.after_train_iter(runner, step, None, dict(loss=torch.tensor(float(step)), acc=0.25))
        runner.iter += 1
    scalars = {key: list(value.data[0]) for key, value in runner.message_hub.log_scalars.items()}
    assert scalars['train/loss'] == [step + 1 for step in range(8)]
    assert scalars['train/acc'] == [1.25] * 8
    # Of all ranks already, and not logged where it is not finite.
    assert scalars['train/grad_norm'] == [0.5] * 7
    assert calls == {1: [2] * 8, 3: [6, 6, 4], 4: [8, 8]}[interval]
