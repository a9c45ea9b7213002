"""Compiling a model with torch.compile, for training and for inference."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from mmaction.errors import ConfigError

__all__ = [
    'Compilation',
    'compile_backbone',
    'compile_blocks',
    'compile_options',
    'compiler_settings',
    'repeated_blocks',
]

RECOMPILE_LIMIT = 64
"""Graphs of one class of blocks: each stage, with and without gradients, has its own."""


def compile_options(setting: object, device: str) -> dict[str, Any] | None:
    """Arguments of `torch.compile` that a config's `compile` asks for; None for eager.

    Args:
        setting: 'auto' (on a GPU, not on a CPU), True, False, None or the arguments.
        device: 'cpu' or a GPU.

    Raises:
        ConfigError: It is something else.
    """
    if setting == 'auto':
        return {} if device != 'cpu' else None
    if not setting:
        return None
    if setting is True:
        return {}
    if not isinstance(setting, Mapping):
        raise ConfigError(
            f"config key compile: expected 'auto', True, False or arguments of torch.compile, "
            f'found {setting!r}'
        )
    return dict(setting)


class Compilation:
    """What the compiled blocks of a run share: once one of them fails, all run eagerly.

    Args:
        report: Takes the one line that says so.
    """

    def __init__(self, report: Callable[[str], object]) -> None:
        self.failed = False
        self._report = report

    def fail(self, error: BaseException) -> None:
        """Go on without compiling."""
        if not self.failed:
            cause = getattr(error, 'inner_exception', error)
            line = (str(cause).strip().splitlines() or [''])[0]
            self._report(
                f'torch.compile failed, so the run goes on without it ({type(cause).__name__}: '
                f'{line[:200]}); compile=False in the config, or --no-compile, leaves it out'
            )
        self.failed = True


def compile_backbone(
    model: nn.Module, options: Mapping[str, Any], report: Callable[[str], object]
) -> Compilation:
    """Compile the backbone of a recognizer in place, and that of its teacher, block by block.

    Equal blocks share their code, so that the first step does not wait for a graph of the whole
    network. A backbone without repeated blocks is compiled as a whole. Names in the state dict
    stay.

    Args:
        model: A recognizer.
        options: Arguments of `torch.compile`; shapes are fixed unless they say otherwise.
        report: Takes a line where compiling fails.
    """
    compilation = Compilation(report)
    networks: list[Any] = [model, getattr(model, 'teacher', None)]
    for network in networks:
        if network is not None:
            compile_blocks(network.backbone, options, compilation)
    return compilation


def compile_blocks(
    backbone: nn.Module, options: Mapping[str, Any], compilation: Compilation | None = None
) -> None:
    """Compile one backbone, as `compile_backbone` does; without a compilation, failing raises."""
    for block in repeated_blocks(backbone) or [backbone]:
        block.compile(**{'dynamic': False, **options})
        if compilation is not None:
            _fall_back(block, compilation)


def repeated_blocks(network: nn.Module) -> list[nn.Module]:
    """The outermost modules of classes of which the lists of a network hold several."""
    counts = Counter(
        type(child)
        for container in network.modules()
        if isinstance(container, (nn.ModuleList, nn.Sequential))
        for child in container
    )
    # Layers of torch itself are too small to be worth a graph.
    classes = tuple(
        kind for kind, n in counts.items() if n > 1 and not kind.__module__.startswith('torch.nn')
    )
    containers = (nn.ModuleList, nn.Sequential)
    found: list[nn.Module] = []

    def visit(module: nn.Module) -> None:
        for child in module.children():
            own = type(child) in classes and not isinstance(child, containers)
            if own and next(child.parameters(), None) is not None:
                found.append(child)
            else:
                visit(child)

    visit(network)
    return found


def _fall_back(module: nn.Module, compilation: Compilation) -> None:
    from torch._dynamo.exc import TorchDynamoException

    holder: Any = module
    compiled, eager = holder._compiled_call_impl, holder._call_impl

    def call(*args: Any, **kwargs: Any) -> Any:
        if not compilation.failed:
            try:
                return compiled(*args, **kwargs)
            # Raised before the graph runs: no random number is drawn, no statistic has moved.
            except TorchDynamoException as error:
                compilation.fail(error)
        return eager(*args, **kwargs)

    holder._compiled_call_impl = call


@contextmanager
def compiler_settings(*, for_inference: bool) -> Iterator[None]:
    """Set torch's compiler up within a block.

    Args:
        for_inference: Weights no longer change: on a CPU they can be packed for the processor.
    """
    from torch._dynamo import config as dynamo

    with dynamo.patch(recompile_limit=max(RECOMPILE_LIMIT, dynamo.recompile_limit)):
        if torch.cuda.is_available():
            yield
            return
        from torch._inductor import config as inductor

        # It warns that there is no CUDA toolkit, which nobody needs here.
        logger = logging.getLogger('torch.utils.cpp_extension')
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            with inductor.patch(freezing=for_inference or inductor.freezing):
                yield
        finally:
            logger.setLevel(level)
