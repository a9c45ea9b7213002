"""Time each operator of a step of a config's backbone: share of the time, of the peak, GB/s.

    python tools/analysis_tools/benchmark_operators.py CONFIG [options of benchmark.py]

On a CPU, eager. GFLOP/s of products and attention are told against a large matrix product of the
same run, bytes (inputs and outputs of an operator, once each) against a copy.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmark import MatrixProduct, Subject, parse_args
from torch.utils._python_dispatch import TorchDispatchMode

from mmaction.utils.cli import check_files, user_errors

Shapes = tuple[tuple[int, ...], ...]


class OperatorTimes(TorchDispatchMode):
    """Seconds and bytes of each operator, by name and shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[str, Shapes], list[tuple[float, int]]] = defaultdict(list)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run and time one operator."""
        import torch
        from torch.utils._pytree import tree_leaves

        start = time.perf_counter()
        result = function(*args, **(kwargs or {}))
        spent = time.perf_counter() - start
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        outputs = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        key = str(function), tuple(tuple(x.shape) for x in inputs)
        self.found[key].append((spent, sum(x.nbytes for x in inputs + outputs)))
        return result


def operations(name: str, shapes: Shapes) -> int:
    """Floating-point operations of a product or of attention; 0 of what is not counted."""
    if '_linear_pointwise' in name:
        return 2 * math.prod(shapes[0]) * shapes[1][0]
    if 'convolution' in name:  # a linear layer, if the kernel is 1x1: clips, weights; grad first
        backward = 'backward' in name
        tokens, weight = shapes[1:3] if backward else shapes[:2]
        pointwise = math.prod(weight[2:]) == 1
        return (4 if backward else 2) * math.prod(tokens) * weight[0] * pointwise
    if name.startswith(('aten.addmm', 'aten.mm.', 'aten.bmm')):
        return 2 * math.prod(shapes[-2]) * shapes[-1][-1]
    if '_scaled_dot_product' in name or 'cpu_attention' in name:
        # Five products backward, whose first argument is the gradient; two forward.
        backward = 'backward' in name
        queries, keys = shapes[1:3] if backward else shapes[:2]
        return (10 if backward else 4) * math.prod(queries) * keys[2]
    return 0


def copy_rate() -> float:
    """Bytes a second that a copy reads and writes."""
    import torch

    source = torch.empty(1 << 25)
    target = torch.empty_like(source)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times)


def main(arguments: list[str] | None = None) -> None:
    """Print two tables: kinds of operators, and the 30 with the most time."""
    args = parse_args(arguments)
    check_files(args, 'config')
    import torch

    from mmaction.utils.memory import keep_freed_memory

    args.device = 'cpu'
    keep_freed_memory()
    with user_errors(setup=True):
        subject = Subject(Path(args.config).stem, args)
    product = MatrixProduct(subject.device, args.precision)
    for _ in range(args.warm_up):
        subject.step()
    peaks = [product.rate()]
    times = OperatorTimes()
    for _ in range(args.steps):
        with times:
            subject.step()
        peaks.append(product.rate())
    peak = sorted(peaks)[len(peaks) // 2]
    total = sum(spent for calls in times.found.values() for spent, _ in calls)
    print(
        f'{torch.get_num_threads()} threads, product {peak / 1e9:.0f} GFLOP/s, '
        f'copy {copy_rate() / 1e9:.0f} GB/s, step {total / args.steps:.3f} s'
    )
    kinds: dict[str, float] = defaultdict(float)
    for (name, _), calls in times.found.items():
        kinds[name] += sum(spent for spent, _ in calls)
    for name, spent in sorted(kinds.items(), key=lambda kind: -kind[1])[:16]:
        print(f'{spent / total:6.1%}  {name}')
    rows = sorted(times.found.items(), key=lambda row: -sum(spent for spent, _ in row[1]))
    for (name, shapes), calls in rows[:30]:
        spent, moved = (sum(values) for values in zip(*calls, strict=True))
        share = operations(name, shapes) * len(calls) / spent / peak
        of_peak = f'{share:.2f} of peak' if share else ''
        print(
            f'{spent / total:6.1%} {len(calls) // args.steps:4} x {moved / spent / 1e9:6.1f} GB/s '
            f'{of_peak:>13}  {name} {shapes}'
        )


if __name__ == '__main__':
    main()
