"""The parts of benchmark_gpu.py: each function measures one thing and returns its table.

A table is rows (dicts with the same keys), written as they come: a part that is stopped keeps
those that it has. `small` is the size that a CPU can do in seconds, for trying the script where
there is no GPU; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmaction.utils.io import write_text

__all__ = ['PARTS']

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs/recognition/dualformer'
KINETICS = 'dualformer_{}_patch244_window877_kinetics400_1k.py'
DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
PICO = 'dualformer_pico_motion_digits.py'
PLAIN = 'tests/models/backbones/plain_dualformer.py:PlainDualFormer'
PEERS = ('torchvision.swin3d_t', 'torchvision.mvit_v2_s', 'torchvision.r2plus1d_18')
Row = dict[str, Any]
BUDGETS = (24, 40, 80, 141)
BATCHES: dict[tuple[str, bool | str], tuple[int, ...]] = {
    ('tiny', False): (25, 43, 88, 157),
    ('tiny', 'selective'): (34, 59, 121, 215),
    ('tiny', True): (45, 77, 158, 280),
    ('small', False): (13, 23, 47, 84),
    ('small', 'selective'): (19, 34, 70, 126),
    ('small', True): (26, 45, 94, 168),
    ('base', False): (9, 16, 35, 62),
    ('base', 'selective'): (15, 27, 57, 102),
    ('base', True): (26, 46, 97, 173),
}
"""Largest batches in GB of memory, from the table of docs/performance.md."""


def milliseconds(run: Callable[[], Any], steps: int) -> float:
    """Median time of `run`, after a few runs to warm up."""
    for _ in range(2):
        run()
    times = []
    for _ in range(steps):
        _wait()
        start = time.perf_counter()
        run()
        _wait()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def device_milliseconds(run: Callable[[], Any], steps: int) -> float:
    """Median time of `run` on the device alone: what it takes to start kernels is not counted."""
    if DEVICE == 'cpu':
        return milliseconds(run, steps)
    run()
    ahead = _random(8192, 8192, dtype=torch.bfloat16)
    times: list[float] = []
    for _ in range(3):
        _wait()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        for _ in range(20):  # busy while what is timed queues up
            ahead @ ahead
        start.record()
        for _ in range(steps):
            run()
        end.record()
        _wait()
        times.append(start.elapsed_time(end) / steps)
    return statistics.median(times)


def _wait() -> None:
    if DEVICE == 'cuda':
        torch.cuda.synchronize()


def _line(error: BaseException) -> str:
    """The first line of an error, to be put into a table."""
    return (str(error).splitlines() or [''])[0][:60]


def _random(*shape: int, dtype: torch.dtype, grad: bool = False) -> Tensor:
    return torch.randn(*shape, device=DEVICE, dtype=dtype, requires_grad=grad)


def machine(small: bool) -> list[Row]:
    """What the device can do at best: matrix products, copies within it and to it."""
    size, elements, steps = (256, 1 << 18, 2) if small else (8192, 1 << 29, 10)
    rows: list[Row] = []
    for name in ('bfloat16', 'float16', 'float32', 'float32, TF32'):
        dtype = getattr(torch, name.partition(',')[0])
        a, b = (_random(size, size, dtype=dtype) for _ in range(2))
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision('high' if 'TF32' in name else 'highest')
        spent = milliseconds(partial(torch.matmul, a, b), steps)
        torch.set_float32_matmul_precision(before)
        rate = 2e-9 * size**3 / spent
        rows.append(dict(what=f'product, {name}', value=rate, unit='TFLOP/s'))
    source = torch.empty(elements, dtype=torch.bfloat16, device=DEVICE)
    target = torch.empty_like(source)
    spent = milliseconds(lambda: target.copy_(source), steps)
    rows.append(dict(what='copy on the device', value=2e-6 * source.nbytes / spent, unit='GB/s'))
    clips = (1, 1, 3, 8, 32, 32) if small else (8, 1, 3, 32, 224, 224)
    for name, pinned in (('pageable', False), ('pinned', DEVICE == 'cuda')):
        host = torch.empty(clips, dtype=torch.uint8, pin_memory=pinned)
        spent = milliseconds(partial(host.to, DEVICE, non_blocking=True), steps)
        rows.append(
            dict(what=f'{len(host)} uint8 clips to the device, {name}', value=spent, unit='ms')
        )
    return rows


def _attention_shapes(small: bool) -> dict[str, tuple[int, int, int, int]]:
    """(batch, heads, queries, keys) of 8 clips of DualFormer-T, head dim 32."""
    if small:
        return {'local 3': (1, 2, 49, 49)}
    local = {f'local {i + 1}': (8 * 2 * 64 // 4**i, 2 << i, 392, 392) for i in range(4)}
    queries = {i: 16 * (56 >> i) ** 2 for i in range(4)}
    keys = (456, 456, 392, 784)
    return local | {f'global {i + 1}': (8, 2 << i, queries[i], keys[i]) for i in range(4)}


def attention(small: bool) -> Iterator[Row]:
    """Backends of scaled_dot_product_attention at the published shapes, forward and backward."""
    dtype = torch.float32 if small else torch.bfloat16
    backends = (
        ['MATH']
        if DEVICE == 'cpu'
        else ['FLASH_ATTENTION', 'EFFICIENT_ATTENTION', 'CUDNN_ATTENTION']
    )
    for name, (batch, heads, queries, keys) in _attention_shapes(small).items():
        q, k, v = (
            _random(batch, length, heads, 32, dtype=dtype).transpose(1, 2).requires_grad_()
            for length in (queries, keys, keys)
        )
        grad = torch.randn_like(q)
        exact = F.scaled_dot_product_attention(q[:1].float(), k[:1].float(), v[:1].float())
        for backend in ['default', *backends]:
            row: Row = {'shape': name, 'batch x heads x q x k': f'{batch}x{heads}x{queries}x{keys}'}
            row['backend'] = backend.removesuffix('_ATTENTION').lower()
            chosen = (
                contextlib.nullcontext()
                if backend == 'default'
                else sdpa_kernel(getattr(SDPBackend, backend))
            )

            def forward() -> Tensor:
                return F.scaled_dot_product_attention(q, k, v)  # noqa: B023

            def both() -> None:
                q.grad = k.grad = v.grad = None  # noqa: B023
                forward().backward(grad)  # noqa: B023

            try:
                with chosen:
                    error = (forward()[:1].float() - exact).detach().abs().max().item()
                    row['forward ms'] = device_milliseconds(forward, 2 if small else 10)
                    row['with backward ms'] = device_milliseconds(both, 2 if small else 10)
                row['error'] = error
                grads = (x.grad for x in (q, k, v))
                row['gradients finite'] = all(
                    grad is not None and bool(grad.isfinite().all()) for grad in grads
                )
            except RuntimeError as reason:
                row['backend'] += f' ({_line(reason)})'
            yield row


def position(small: bool) -> Iterator[Row]:
    """Methods of the position generator at the grids of DualFormer-T, 8 clips; eager ones first."""
    from mmaction.models.utils.position_ops import METHODS, add_position

    grids = [(4, 4, 4, 8)] if small else [(16, 56 >> i, 56 >> i, 64 << i) for i in range(4)]
    dtype = torch.float32 if small else torch.bfloat16
    methods = [name for name in METHODS if DEVICE == 'cuda' or name != 'triton']
    # What is compiled takes seconds each.
    for compiled in (False, True) if DEVICE == 'cuda' else (False,):
        for T, H, W, C in grids:
            x = _random(1 if small else 8, T, H, W, C, dtype=dtype, grad=True)
            weight = _random(C, 1, 3, 3, 3, dtype=dtype, grad=True)
            bias = _random(C, dtype=dtype, grad=True)
            grad = torch.randn_like(x)
            exact = add_position(x[:1].float(), weight.float(), bias.float(), 'conv')
            for method in methods:
                # Otherwise, after eight graphs, the rest would run eagerly without a word.
                torch.compiler.reset()
                call = torch.compile(add_position, dynamic=False) if compiled else add_position

                def forward() -> Tensor:
                    return call(x, weight, bias, method)  # noqa: B023

                def both() -> None:
                    x.grad = weight.grad = bias.grad = None  # noqa: B023
                    forward().backward(grad)  # noqa: B023

                row: Row = dict(grid=f'{T}x{H}x{W}x{C}', method=method, compiled=compiled)
                try:
                    error = (forward()[:1].float() - exact).abs().max().item()
                    row['forward ms'] = device_milliseconds(forward, 2 if small else 10)
                    row['with backward ms'] = device_milliseconds(both, 2 if small else 10)
                    row['error'] = error
                except Exception as reason:
                    row['method'] += f' ({type(reason).__name__}: {_line(reason)})'
                yield row


def _benchmark(config: str, *options: str) -> list[Row]:
    """Rows of benchmark.py, run in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, 'rows.json')
        tool = ROOT / 'tools/analysis_tools/benchmark.py'
        command = [sys.executable, str(tool), str(CONFIGS / config), '--json', str(out), *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr or done.stdout).strip()[-400:])
        found: list[Row] = json.loads(out.read_text())
    return found


def _model_rows(
    mode: str, batches: dict[str, tuple[int, ...]], against: tuple[str, ...], small: bool
) -> Iterator[Row]:
    """A row for each model, batch and subject; without subjects to compare with, compiled."""
    common = ['--mode', mode, '--precision', 'fp32' if small else 'bf16']
    common += ['--steps', '2', '--no-memory'] if small else ['--steps', '10']
    common += ['--against', ','.join(against)] if against else ['--compile']
    for size, numbers in ({'pico': (1,)} if small else batches).items():
        for batch in numbers:
            row: Row = dict(model=size, mode=mode, batch=batch, compiled=not against)
            config = PICO if small else KINETICS.format(size)
            try:
                found = _benchmark(config, *common, '--batch', str(batch))
            except RuntimeError as reason:
                yield row | {'error': str(reason).splitlines()[-1][:80]}
                continue
            for other in found:
                middle = statistics.median(other['seconds'])
                yield row | {
                    'model': other['name'].partition('_patch')[0].rpartition(':')[2],
                    'clips/s': batch / middle,
                    'of peak': statistics.median(other['shares']),
                    'memory GB': (other.get('memory') or 0) / 1e9,
                }


def train_models(small: bool) -> Iterator[Row]:
    """Eager training steps beside the plain network."""
    return _model_rows('train', dict(tiny=(8, 32), small=(8,), base=(8,)), (PLAIN,), small)


def infer_models(small: bool) -> Iterator[Row]:
    """Eager forward passes beside the plain network."""
    return _model_rows('infer', dict(tiny=(1, 8, 32), small=(8,), base=(8,)), (PLAIN,), small)


def compiled_models(small: bool) -> Iterator[Row]:
    """The same, compiled: the first steps take minutes."""
    for mode in ('train', 'infer'):
        yield from _model_rows(mode, dict(tiny=(8, 32), small=(8,), base=(8,)), (), small)


def peers(small: bool) -> Iterator[Row]:
    """Video models of torchvision beside DualFormer-T, training and inference."""
    against = ('torchvision.r3d_18',) if small else PEERS
    for mode in ('infer', 'train'):
        yield from _model_rows(mode, dict(tiny=(8,)), against, small)


def memory(small: bool) -> Iterator[Row]:
    """A step with AdamW at each batch of the memory table, as far as this GPU has the memory."""
    from mmengine.registry import init_default_scope

    from mmaction.config.load import load_config
    from mmaction.registry import MODELS

    init_default_scope('mmaction')
    total = torch.cuda.get_device_properties(0).total_memory / 1e9 if DEVICE == 'cuda' else 141
    for (size, use_checkpoint), batches in ({('pico', False): (1,)} if small else BATCHES).items():
        config = load_config(CONFIGS / (PICO if small else KINETICS.format(size))).model.backbone
        config.update(pretrained=None, use_checkpoint=use_checkpoint)
        backbone = MODELS.build(config).to(DEVICE).train()
        optimizer = torch.optim.AdamW(backbone.parameters(), fused=True)
        for budget, batch in zip(BUDGETS, batches, strict=False):
            if budget > total:
                continue
            row: Row = dict(
                model=size, use_checkpoint=use_checkpoint, budget_gb=budget, batch=batch
            )
            try:
                shape = (batch, 3, *config.get('video_size', (32, 224, 224)))
                clips = torch.zeros(shape, device=DEVICE)
                row['peak GB'] = _peak_of_steps(backbone, optimizer, clips) / 1e9
                row['fits'] = row['peak GB'] < budget
            except torch.OutOfMemoryError:
                row['fits'] = False
            yield row


def _peak_of_steps(backbone: torch.nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> int:
    """Bytes that PyTorch holds at most in two training steps, weights and moments included."""
    from mmaction.utils.memory import peak_memory

    if DEVICE == 'cuda':
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = backbone(x).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return peak_memory()


def loader(small: bool) -> Iterator[Row]:
    """Clips/s of reading, by workers, on generated videos, with the copy to the device."""
    from mmengine.registry import init_default_scope
    from torch.utils.data import DataLoader

    from mmaction.config.load import load_config
    from mmaction.data_preparation import motion_digits
    from mmaction.registry import DATASETS
    from mmaction.utils.small_tensors import hand_over_as_bytes

    init_default_scope('mmaction')
    with tempfile.TemporaryDirectory() as folder:
        clips = 8 if small else 256
        motion_digits.build(Path(folder), clips, 8)
        config = load_config(CONFIGS / PICO, [f'data_root={folder}'])
        dataset = DATASETS.build(config.train_dataloader.dataset)
        for workers in (0,) if small else (1, 4, 8, 16):
            batches = DataLoader(
                dataset,
                8,
                num_workers=workers,
                pin_memory=DEVICE == 'cuda',
                collate_fn=list,
                worker_init_fn=hand_over_as_bytes,
            )
            start = time.perf_counter()
            for batch in batches:
                for item in batch:
                    item['inputs'].to(DEVICE, non_blocking=True)
            _wait()
            yield {'workers': workers, 'clips/s': len(dataset) / (time.perf_counter() - start)}


def profile(small: bool) -> list[Row]:
    """The ten kernels on which a training step of Tiny, batch 32, bf16, eager, spends most."""
    return _profile(small, compiled=False)


def compiled_profile(small: bool) -> list[Row]:
    """The same, compiled."""
    return _profile(small, compiled=DEVICE == 'cuda')


def _profile(small: bool, compiled: bool) -> list[Row]:
    from mmengine.registry import init_default_scope
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    from mmaction.config.load import load_config
    from mmaction.engine.compile import compile_blocks, compiler_settings
    from mmaction.registry import MODELS

    init_default_scope('mmaction')
    config = load_config(CONFIGS / (PICO if small else KINETICS.format('tiny'))).model.backbone
    config.update(pretrained=None)
    backbone = MODELS.build(config).to(DEVICE)
    if compiled:
        compile_blocks(backbone, {})
    size = config.get('video_size', (32, 224, 224))
    clips = torch.randn(1 if small else 32, 3, *size, device=DEVICE)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = backbone(clips).float().square().mean()
        loss.backward()

    on_gpu = DEVICE == 'cuda'
    activities = [ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]
    with compiler_settings(for_inference=False):
        for _ in range(2):
            step()
        with record(activities=activities) as found:
            step()
            _wait()
    events = [
        (e.key, e.self_device_time_total if on_gpu else e.self_cpu_time_total, e.count)
        for e in found.key_averages()
    ]
    events.sort(key=lambda event: -event[1])
    total = sum(event[1] for event in events) or 1
    return [
        {'kernel': key[:80], 'ms': spent / 1000, 'of step': spent / total, 'calls': count}
        for key, spent, count in events[:10]
    ]


def tests(small: bool) -> list[Row]:
    """The tests marked cuda; `small` only collects them."""
    # A test file that needs a package which is not there does not keep the others from running.
    command = [sys.executable, '-m', 'pytest', '-q', '-m', 'cuda', '-p', 'no:cacheprovider']
    command += ['--continue-on-collection-errors', 'tests']
    command += ['--collect-only'] if small else ['--tb=short', '-rfE']
    if not small and find_spec('xdist'):
        command += ['-n', '8']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, flush=True)  # into the log
    lines = done.stdout.strip().splitlines()
    failed = [dict(what=line) for line in lines if re.match(r'(FAILED|ERROR)', line)]
    return [dict(what=lines[-1] if lines else done.stderr.strip()[-200:]), *failed]


def quickstart(small: bool) -> list[Row]:
    """The quickstart's recipe on this device: seconds and accuracy."""
    from mmaction.data_preparation import motion_digits

    with tempfile.TemporaryDirectory() as folder:
        data, work = Path(folder, 'data'), Path(folder, 'work')
        motion_digits.build(data, *((16, 8) if small else (800, 200)))
        command = [sys.executable, 'tools/train.py', str(CONFIGS / PICO), '--seed', '0']
        command += ['--work-dir', str(work), '--test-last', '--cfg-options', f'data_root={data}']
        command += ['train_cfg.max_epochs=1'] if small else []
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        spent = time.perf_counter() - start
        found = re.findall(r'top1_acc: ([\d.]+)', done.stdout)
        if done.returncode or not found:
            raise RuntimeError((done.stderr or done.stdout).strip()[-400:])
    return [{'seconds': spent, 'top1_acc': float(found[-1])}]


PARTS: dict[str, Callable[[bool], Iterable[Row]]] = {
    'machine': machine,
    'attention': attention,
    'position': position,
    'profile': profile,
    'infer': infer_models,
    'train': train_models,
    'peers': peers,
    'memory': memory,
    'loader': loader,
    'tests': tests,
    'quickstart': quickstart,
    'compiled': compiled_models,
    'compiled profile': compiled_profile,
}


def main() -> None:
    """Measure one part and write its rows, all so far after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('part', choices=PARTS, metavar='PART', help=', '.join(PARTS))
    parser.add_argument('file', help='JSON file of the rows')
    parser.add_argument('--small', action='store_true', help='tiny sizes, to try the script')
    args = parser.parse_args()
    rows: list[Row] = []
    for row in PARTS[args.part](args.small):
        rows.append(row)
        write_text(args.file, json.dumps(rows))


if __name__ == '__main__':
    main()
