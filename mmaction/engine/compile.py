"""Compiling a model with torch.compile, for training and for inference."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ['compile_backbone', 'compiler_settings']


def compile_backbone(model: nn.Module, options: Mapping[str, Any] | bool) -> None:
    """Compile the backbone of a recognizer in place, and that of its teacher.

    Only the backbone has a static graph. Names in the state dict stay.

    Args:
        model: A recognizer.
        options: Arguments of `torch.compile`; True for its defaults.
    """
    arguments: dict[str, Any] = {} if isinstance(options, bool) else dict(options)
    networks: list[Any] = [model, getattr(model, 'teacher', None)]
    for network in networks:
        if network is not None:
            network.backbone.compile(**arguments)


@contextmanager
def compiler_settings(*, for_inference: bool) -> Iterator[None]:
    """Set torch's compiler up for the CPU within a block; nothing is changed on a GPU.

    Args:
        for_inference: Weights no longer change and can be packed for the processor.
    """
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
