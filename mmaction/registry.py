"""The registries of scope `mmaction`, children of mmengine's root registries.

Each names the module that holds its members, so a type in a config resolves
by importing that module on first use.
"""

from typing import Any

from mmengine import registry as _root
from mmengine.registry import Registry

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'EVALUATOR',
    'FUNCTION',
    'HOOKS',
    'INFERENCERS',
    'LOG_PROCESSORS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'MODEL_WRAPPERS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'RUNNERS',
    'RUNNER_CONSTRUCTORS',
    'TASK_UTILS',
    'TOKENIZER',
    'TRANSFORMS',
    'VISBACKENDS',
    'VISUALIZERS',
    'WEIGHT_INITIALIZERS',
]


class _Registry(Registry):
    def _register_module(self, module: Any, *args: Any, **kwargs: Any) -> None:
        # A user's class comes second, so that `force=True` puts it in the place of ours.
        if not str(getattr(module, '__module__', '')).startswith('mmaction.'):
            self.import_from_location()
        try:
            super()._register_module(module, *args, **kwargs)
        except KeyError as error:
            raise KeyError(
                f'{error.args[0]}; give yours another name, or have it take the place by '
                'register_module(force=True)'
            ) from None


def _child(name: str, parent: Registry | None, location: str) -> Registry:
    return _Registry(name, parent=parent, scope='mmaction', locations=[f'mmaction.{location}'])


RUNNERS = _child('runner', _root.RUNNERS, 'engine')
RUNNER_CONSTRUCTORS = _child('runner constructor', _root.RUNNER_CONSTRUCTORS, 'engine')
LOOPS = _child('loop', _root.LOOPS, 'engine')
HOOKS = _child('hook', _root.HOOKS, 'engine')
LOG_PROCESSORS = _child('log processor', _root.LOG_PROCESSORS, 'engine')
OPTIMIZERS = _child('optimizer', _root.OPTIMIZERS, 'engine')
OPTIM_WRAPPERS = _child('optim wrapper', _root.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', _root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine'
)
PARAM_SCHEDULERS = _child('parameter scheduler', _root.PARAM_SCHEDULERS, 'engine')

DATASETS = _child('dataset', _root.DATASETS, 'datasets')
DATA_SAMPLERS = _child('data sampler', _root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child('transform', _root.TRANSFORMS, 'datasets.transforms')

MODELS = _child('model', _root.MODELS, 'models')
MODEL_WRAPPERS = _child('model_wrapper', _root.MODEL_WRAPPERS, 'models')
WEIGHT_INITIALIZERS = _child('weight initializer', _root.WEIGHT_INITIALIZERS, 'models')
TASK_UTILS = _child('task util', _root.TASK_UTILS, 'models')
TOKENIZER = _child('tokenizer', None, 'models')

METRICS = _child('metric', _root.METRICS, 'evaluation')
EVALUATOR = _child('evaluator', _root.EVALUATOR, 'evaluation')

VISUALIZERS = _child('visualizer', _root.VISUALIZERS, 'visualization')
VISBACKENDS = _child('vis_backend', _root.VISBACKENDS, 'visualization')

INFERENCERS = _child('inferencer', _root.INFERENCERS, 'apis')
FUNCTION = _child('function', _root.FUNCTIONS, 'datasets')
