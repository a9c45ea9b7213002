"""Outputs of inner layers, kept while a model runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

__all__ = ['OutputHook']


class OutputHook:
    """Keep what named layers output; to be used by `with`.

    Args:
        module: The model.
        outputs: Names of its layers, such as 'backbone.norm'.
        as_tensor: Keep tensors as they are, not as arrays on the CPU.

    Attributes:
        layer_outputs: Output of the last run by the name of the layer; what is no tensor is
            kept as it is.

    Raises:
        AttributeError: The model has no such layer.

    Source: the class of this name in mmaction2 1.x.
    """

    def __init__(
        self, module: nn.Module, outputs: Sequence[str] | None = None, as_tensor: bool = False
    ) -> None:
        self.outputs, self.as_tensor = outputs, as_tensor
        self.layer_outputs: dict[str, Any] = {}
        self.handles: list[RemovableHandle] = []
        for name in outputs or ():
            try:
                layer = module.get_submodule(name)
            except AttributeError as error:
                self.remove()
                raise AttributeError(f'Module {name} not found: {error}') from error
            self.handles.append(layer.register_forward_hook(self._keep(name)))

    def _keep(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and not self.as_tensor:
                output = output.detach().cpu().float().numpy()
            self.layer_outputs[name] = output

        return hook

    def remove(self) -> None:
        """Stop listening."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    def __enter__(self) -> OutputHook:
        return self

    def __exit__(self, *_: Any) -> None:
        self.remove()
