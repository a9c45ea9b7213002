"""Time a config's backbone, alone or in turn with others, against what the machine can do.

    python tools/analysis_tools/benchmark.py CONFIG [--mode train|infer] [--batch 1] \
        [--precision fp32|bf16|fp16] [--compile] [--against fp32,torchvision.swin3d_t]

All run in this process and take turns, and before each turn a large matrix product is
timed: what share of its rate a model reaches says how close it is to the machine's limit.
Random clips, random weights. Peak memory is what two steps add, on a CPU in a process of its own
for each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import runpy
import statistics
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmaction.utils.cli import add_cfg_options, check_files, user_errors

ROOT = Path(__file__).parents[2]
# of the product that stands for the machine's rate, (N, N) by (N, N)
PEAK_SIZE = {'cpu': 2048, 'cuda': 8192}
# Their position encodings are made for one length; they get clips of it.
FRAMES = {'torchvision.mvit_v1_b': 16, 'torchvision.mvit_v2_s': 16}
PRECISIONS = ('fp32', 'bf16', 'fp16')
PARTS = {
    'PatchEmbed': 'embed',
    'LocalWindowAttention': 'local',
    'GlobalPyramidAttention': 'global',
    'PositionGenerator': 'PEG',
    'Mlp': 'MLP',
}


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('config', help='config file')
    add('--mode', choices=('train', 'infer'), default='infer', help='default: infer')
    add('--batch', type=int, default=1, help='clips at once (default: 1)')
    add('--precision', choices=PRECISIONS, default='fp32', help='default: fp32')
    add('--compile', action='store_true', help='compile all, block by block as in a run')
    add(
        '--against',
        default='',
        metavar='NAME[,NAME]',
        help="eager (this config's, not compiled), fp32 (this config's in fp32), KEY=VALUE (this "
        "config's with another argument, such as use_checkpoint=selective), a backbone's type "
        'such as torchvision.swin3d_t, or FILE.py:NAME, which is called with the backbone of this '
        'config and returns what is called with clips',
    )
    add('--steps', type=int, default=5, help='timed steps of each (default: 5)')
    add('--warm-up', type=int, default=2, help='steps before these (default: 2)')
    add('--shape', type=int, nargs=3, metavar=('T', 'H', 'W'), help="default: video_size's")
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    add('--no-memory', action='store_true', help='leave out peak memory')
    add('--json', metavar='FILE', help='write all figures there as well')
    add_cfg_options(parser)
    add('--memory-of', help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.batch < 1 or args.steps < 1:
        parser.error('--batch and --steps are at least 1')
    return args


class Subject:
    """One model to be timed, in a precision.

    Attributes:
        name: As shown.
        step: Runs one step: a forward pass, or forward and backward.
        flops: Floating-point operations of a step.
    """

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        import torch

        self.name = name
        self.args = args
        self.device = torch.device(device_of(args))
        self.precision = 'fp32' if name == 'fp32' else args.precision
        torch.manual_seed(0)
        self.backbone = build(name, args).to(self.device)
        self.backbone.train(args.mode == 'train')
        self.shape = (FRAMES.get(name, args.shape[0]), *args.shape[1:])
        self.clips = torch.randn(args.batch, 3, *self.shape, device=self.device)
        self.call: Callable[[Any], Any] = self.backbone
        if '.py:' in name:
            self.call = other_version(name, self.backbone)
        elif args.compile and name != 'eager':
            from mmaction.engine.compile import compile_blocks

            compile_blocks(self.backbone, {})

    def count(self) -> int:
        """Operations of one step: two per multiply-add, backward twice as many as forward."""
        from get_flops import count
        from mmengine.registry import init_default_scope

        init_default_scope('mmaction')
        _, flops = count(build(self.name, self.args), self.shape)
        return int(2 * flops.total() * self.args.batch * (3 if self.args.mode == 'train' else 1))

    def step(self) -> None:
        """One forward pass, in training also one backward pass."""
        import torch
        from torch.utils._pytree import tree_leaves

        with autocast(self.device.type, self.precision):
            if self.args.mode == 'infer':
                with torch.no_grad():
                    self.call(self.clips)
                return
            maps = tree_leaves(self.call(self.clips))  # of several stages, for some networks
            loss = sum(x.float().mean() for x in maps)
        loss.backward()
        self.backbone.zero_grad(set_to_none=True)


def device_of(args: argparse.Namespace) -> str:
    """The device to run on."""
    import torch

    return args.device or ('cuda:0' if torch.cuda.is_available() else 'cpu')


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The context in which a precision holds."""
    import torch

    dtype = dict(bf16=torch.bfloat16, fp16=torch.float16).get(precision)
    return torch.autocast(device, dtype) if dtype else contextlib.nullcontext()


def build(name: str, args: argparse.Namespace) -> Any:
    """The backbone of the config, or the one that `name` says, with random weights."""
    from mmengine.registry import init_default_scope

    from mmaction.config.load import load_config
    from mmaction.models.utils.fast_layers import use_fast_layers
    from mmaction.registry import MODELS

    init_default_scope('mmaction')
    options = [f'model.backbone.{name}'] if '=' in name else []
    config = load_config(args.config, [*args.cfg_options, *options]).model.backbone
    if args.shape is None:
        args.shape = list(config.get('video_size', (32, 224, 224)))
    own = (Path(args.config).stem, 'eager', 'fp32')
    if not ('=' in name or '.py:' in name or name in own):
        config = dict(type=name)
    config.update(pretrained=None)
    backbone = MODELS.build(config)
    use_fast_layers(backbone)  # as recognizers do
    return backbone


def other_version(name: str, backbone: Any) -> Callable[[Any], Any]:
    """What FILE.py:NAME makes of a backbone.

    Raises:
        ValueError: The file has no such name.
    """
    file, _, attribute = name.rpartition(':')
    content = runpy.run_path(file)
    if attribute not in content:
        raise ValueError(f'--against {name}: {file} has no {attribute}')
    compiled: Callable[[Any], Any] = content[attribute](backbone)
    return compiled


def seconds(run: Callable[[], Any], device: Any) -> float:
    """How long `run` takes, with the device's work."""
    import torch

    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


class MatrixProduct:
    """The product whose rate stands for what the machine can do in a precision."""

    def __init__(self, device: Any, precision: str) -> None:
        import torch

        size = PEAK_SIZE[device.type]
        dtype = dict(bf16=torch.bfloat16, fp16=torch.float16).get(precision, torch.float32)
        self.device = device
        self.flops = 2 * size**3
        self.factors = tuple(torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))

    def rate(self) -> float:
        """Operations a second, the best of three."""
        from mmaction.models.utils.linear_cpu import linear

        return self.flops / min(
            seconds(lambda: linear(*self.factors), self.device) for _ in range(3)
        )


def take_turns(subjects: list[Subject], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds and share of the peak of each step of each subject."""
    products = {s.precision: MatrixProduct(s.device, s.precision) for s in subjects}
    flops = [subject.count() for subject in subjects]
    times: list[list[float]] = [[] for _ in subjects]
    shares: list[list[float]] = [[] for _ in subjects]
    peaks: list[list[float]] = [[] for _ in subjects]
    for number in range(args.warm_up + args.steps):
        for i, subject in enumerate(subjects):
            before = products[subject.precision].rate()
            spent = seconds(subject.step, subject.device)
            # Before and after: on a shared machine the rate itself wanders.
            peak = (before + products[subject.precision].rate()) / 2
            if number >= args.warm_up:
                times[i].append(spent)
                peaks[i].append(peak)
                shares[i].append(flops[i] / spent / peak)
    return [
        dict(
            name=subject.name,
            shape=subject.shape,
            precision=subject.precision,
            flops=flops[i],
            seconds=times[i],
            peak=statistics.median(peaks[i]),
            shares=shares[i],
        )
        for i, subject in enumerate(subjects)
    ]


def print_rows(rows: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """The table of all subjects; the last column compares each with the first."""
    titles = ('clips/s', 'median', 'min', 'max', 'GFLOP/s', 'of peak', 'peak memory', 'first is')
    for row in rows:
        if row['shape'][0] != args.shape[0]:
            row['name'] += f' ({row["shape"][0]} frames)'
    width = max(len(row['name']) for row in rows) + 2
    print('\n' + ' ' * width + ''.join(f'{title:>13}' for title in titles))
    first = statistics.median(rows[0]['seconds'])
    for row in rows:
        middle = statistics.median(row['seconds'])
        columns = [f'{args.batch / middle:.2f}']
        columns += [
            f'{1000 * v:.1f} ms' for v in (middle, min(row['seconds']), max(row['seconds']))
        ]
        columns += [f'{row["flops"] / middle / 1e9:.0f}']
        columns += [f'{statistics.median(row["shares"]):.2f}']
        columns += [f'{row["memory"] / 2**30:.2f} GB' if row.get('memory') else '-']
        columns += [f'{middle / first:.2f} x']
        print(f'{row["name"]:<{width}}' + ''.join(f'{column:>13}' for column in columns))


def part_times(  # noqa: C901 (hooks count as branches)
    subject: Subject,
) -> dict[tuple[int, str], list[float]]:
    """Seconds forward and backward of each kind of part of each stage in one eager step.

    Time on a GPU is told by waiting for it at each border, so short parts look longer
    than they are; the sum is told against the step's time.
    """
    import torch

    spent: dict[tuple[int, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    handles: list[Any] = []

    def now() -> float:
        if subject.device.type == 'cuda':
            torch.cuda.synchronize(subject.device)
        return time.perf_counter()

    def watch(module: Any, key: tuple[int, str]) -> None:
        starts = [0.0, 0.0]

        def begin(which: int) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                starts[which] = now()

            return hook

        def end(which: int) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                spent[key][which] += now() - starts[which]

            return hook

        handles.append(module.register_forward_pre_hook(begin(0)))
        handles.append(module.register_forward_hook(end(0)))
        if subject.args.mode == 'train':
            handles.append(module.register_full_backward_pre_hook(begin(1)))
            handles.append(module.register_full_backward_hook(end(1)))

    for name, module in subject.backbone.named_modules():
        kind = PARTS.get(type(module).__name__)
        if kind:
            watch(module, (int(name.split('.')[1]), kind))
    for _ in range(subject.args.warm_up):
        subject.step()
    steps = []
    spent.clear()
    for _ in range(subject.args.steps):
        steps.append(seconds(subject.step, subject.device))
    for handle in handles:
        handle.remove()
    result = {key: [t / len(steps) for t in value] for key, value in spent.items()}
    result[-1, 'step'] = [statistics.mean(steps), 0.0]
    return result


def print_parts(times: dict[tuple[int, str], list[float]], mode: str) -> None:
    """The table of parts: one row a stage, milliseconds forward (+ backward)."""
    step = times.pop((-1, 'step'))[0]
    kinds = list(PARTS.values())
    print(f'\nParts of an eager step, ms forward{" + backward" if mode == "train" else ""}:')
    print(f'{"":<10}' + ''.join(f'{kind:>18}' for kind in kinds))

    def cell(values: list[float]) -> str:
        text = f'{1000 * values[0]:.1f}'
        return f'{text} + {1000 * values[1]:.1f}' if mode == 'train' else text

    stages = sorted({stage for stage, _ in times})
    for stage in stages:
        row = [cell(times.get((stage, kind), [0.0, 0.0])) for kind in kinds]
        print(f'stage {stage + 1:<4}' + ''.join(f'{text:>18}' for text in row))
    sums = [
        [sum(times.get((s, kind), [0, 0])[i] for s in stages) for i in (0, 1)] for kind in kinds
    ]
    print(f'{"of step":<10}' + ''.join(f'{100 * sum(pair) / step:>16.0f} %' for pair in sums))
    rest = step - sum(map(sum, sums))
    print(f'norms, residuals and the rest: {1000 * rest:.1f} of {1000 * step:.1f} ms')


def memory_of(subject: Subject) -> int:
    """The bytes that two steps take at most beyond what the process had before."""
    import torch

    from mmaction.utils.memory import peak_memory

    on_gpu = subject.device.type == 'cuda'
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(subject.device)
    else:
        with contextlib.suppress(OSError):  # Linux: forget the peak of starting up
            Path('/proc/self/clear_refs').write_text('5')
    base = torch.cuda.memory_allocated(subject.device) if on_gpu else peak_memory()
    for _ in range(2):
        subject.step()
    peak = torch.cuda.max_memory_allocated(subject.device) if on_gpu else peak_memory()
    return int(peak - base)


def ask_memory(name: str, arguments: list[str]) -> int | None:
    """The same from a process of its own; None if it does not say."""
    command = [sys.executable, __file__, *arguments, '--memory-of', name]
    child = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    try:
        return int(json.loads(child.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        print(f'peak memory of {name} is unknown: {child.stderr.strip()[-300:]}', file=sys.stderr)
        return None


def compiler(args: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """The compiler's settings of a run."""
    if not args.compile:
        return contextlib.nullcontext()
    from mmaction.engine.compile import compiler_settings

    return compiler_settings(for_inference=args.mode == 'infer')


def processor(device: Any) -> str:
    """The name of what runs."""
    import torch

    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = parse_args(arguments)
    check_files(args, 'config')
    import torch

    from mmaction.utils.io import write_json
    from mmaction.utils.memory import keep_freed_memory

    # Of libraries about themselves, and of hooks on the first part, whose input has no gradient.
    warnings.filterwarnings('ignore')
    # Kept memory would count as taken.
    if not (torch.cuda.is_available() or args.memory_of):
        keep_freed_memory()
    own = Path(args.config).stem
    with user_errors(setup=True), compiler(args):
        if args.memory_of:
            print(json.dumps(memory_of(Subject(args.memory_of, args))))
            return
        names = [own, *filter(None, args.against.split(','))]
        subjects = [Subject(name, args) for name in names]
        rows = take_turns(subjects, args)
    if not args.no_memory:
        # A GPU's allocator forgets its peak, that of a process stays.
        for row, subject in zip(rows, subjects, strict=True):
            on_gpu = subject.device.type == 'cuda'
            row['memory'] = memory_of(subject) if on_gpu else ask_memory(row['name'], arguments)
    device = subjects[0].device
    print(f'{processor(device)}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}')
    print(
        f'{args.mode}, batch {args.batch} of {"x".join(map(str, args.shape))}, {args.precision}'
        f'{", compiled" if args.compile else ""}; peak: '
        + ', '.join(
            f'{row["peak"] / 1e9:.0f} GFLOP/s {row["precision"]}'
            for row in {row['precision']: row for row in rows}.values()
        )
        + f' ({PEAK_SIZE[device.type]}^3)'
    )
    print_rows(rows, args)
    if not args.compile and type(subjects[0].backbone).__name__ == 'DualFormer':
        print_parts(part_times(subjects[0]), args.mode)
    if args.json:
        write_json(args.json, rows)


if __name__ == '__main__':
    main()
