"""Models of OpenVINO: made from an ONNX file, quantized to int8, written, run.

The package is the extra `openvino`, and is imported by these functions alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmaction.errors import ConfigError

__all__ = ['find_openvino', 'model_runner', 'quantized', 'read_model', 'save_model']


def find_openvino(int8: bool = False) -> Any:
    """Import OpenVINO, which sends nothing over the network.

    Args:
        int8: Ask for NNCF, too, which quantizes.

    Raises:
        ConfigError: A package is missing.
    """
    # Else each import reports to a server: openvino and nncf do without this package.
    modules: dict[str, Any] = sys.modules
    modules.setdefault('openvino_telemetry', None)
    try:
        import openvino

        if int8:
            import nncf  # noqa: F401
    except ImportError as error:
        raise ConfigError(f'{error}: pip install "dualformer[openvino]"') from error
    return openvino


def read_model(path: Path) -> Any:
    """The model of an .xml or .onnx file."""
    return find_openvino().Core().read_model(str(path))


def quantized(model: Any, clips: Sequence[Tensor], to_input: Callable[[Tensor], Tensor]) -> Any:
    """The int8 form of a model.

    Linear layers and convolutions become int8, a scale for each channel of the weights; attention
    and norms stay as they are. Ranges of activations are those of the clips, and large ones are
    moved into the weights before (SmoothQuant).

    Args:
        model: An fp32 model with an input of any batch size.
        clips: The clips, which are gone through several times.
        to_input: Makes a batch, float32, of one of them.
    """
    find_openvino(int8=True)
    import nncf

    # What int8 queries and keys save is less than the cost of making them: OpenVINO fuses
    # attention into one operation, in bf16 or fp32, which takes them as they are.
    attention = [
        op.get_friendly_name()
        for op in model.get_ops()
        if op.get_type_name() == 'MatMul'
        and not any(_is_constant(value.get_node()) for value in op.input_values())
    ]
    return nncf.quantize(
        model,
        nncf.Dataset(clips, lambda clip: to_input(clip).numpy()),
        subset_size=len(clips),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(names=attention),
    )


def _is_constant(node: Any) -> bool:
    """Whether an operation gives weights, as they are or transposed or converted."""
    if node.get_type_name() in ('Convert', 'Reshape', 'Transpose'):
        return _is_constant(node.input_value(0).get_node())
    return bool(node.get_type_name() == 'Constant')


def save_model(model: Any, out: Path, about: dict[str, Any]) -> None:
    """Write a model with its metadata: `out` (.xml), and the weights beside it (.bin)."""
    model.set_rt_info(json.dumps(about), 'mmaction')
    find_openvino().save_model(model, str(out), compress_to_fp16=False)


def model_runner(
    path: Path, precision: str | None = None, threads: int = 0
) -> Callable[[Tensor], Tensor]:
    """A function that runs a file on the CPU: clips (B, ...), float32 -> scores (B, K).

    Args:
        path: An .xml or .onnx file.
        precision: 'f32', 'bf16' or 'f16'; by default what OpenVINO takes on this processor for
            what is not int8, bf16 where it computes that faster.
        threads: Number of threads; 0 leaves it to OpenVINO.
    """
    settings: dict[str, Any] = dict(PERFORMANCE_HINT='LATENCY')
    if threads:
        settings['INFERENCE_NUM_THREADS'] = threads
    if precision is not None:
        settings['INFERENCE_PRECISION_HINT'] = precision
    model = find_openvino().Core().compile_model(str(path), 'CPU', settings)
    return lambda clips: torch.from_numpy(model(clips.numpy())[0].copy())
