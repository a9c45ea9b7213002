from types import SimpleNamespace

from mmaction.engine.hooks.compile_time import CompileTimeHook


def test_first_step_and_mean_of_later_ones_are_reported_once():
    said, scalars = [], {}
    runner = SimpleNamespace(
        message_hub=SimpleNamespace(log_scalars=scalars), logger=SimpleNamespace(info=said.append)
    )
    hook = CompileTimeHook(steps=2)
    for index, seconds in enumerate([60.0, 0.25, 0.75, 9.0, 9.0]):
        scalars['train/time'] = SimpleNamespace(current=lambda seconds=seconds: seconds)
        hook.after_train_iter(runner, index)
    (text,) = said
    assert 'the first step took 60.0 s, those after it 0.500 s each' in text
