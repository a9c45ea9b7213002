"""What command lines share: errors on one line, options, and names that a terminal can show."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import re
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from mmaction.errors import (
    CheckpointError,
    ConfigError,
    FileWriteError,
    LaunchError,
    RemoteFileError,
    TrainingError,
    UnreadableVideoError,
)
from mmaction.utils.packaged_configs import find_config
from mmaction.utils.suggest import did_you_mean, missing_file, other_kind

__all__ = [
    'Parser',
    'add_cfg_options',
    'add_job_options',
    'available_cores',
    'brief',
    'describe',
    'end_after',
    'leave_out_adafactor',
    'one_line',
    'print_notes',
    'printable',
    'quick_imports',
    'some',
    'user_errors',
]

_OWN = (
    ConfigError,
    CheckpointError,
    FileWriteError,
    RemoteFileError,
    TrainingError,
    UnreadableVideoError,
)
_PLAIN = (*_OWN, ValueError, OSError)
_READABLE = (*_PLAIN, TypeError, ImportError, LookupError)
"""Errors whose messages can be understood without their type."""


_LONGEST = 2000
"""Characters of a message that are shown: some libraries put their input into it."""


def _is_main() -> bool:
    # A launcher sets both; a rank alone is left over from another run.
    return os.environ.get('RANK', '0') == '0' or 'MASTER_ADDR' not in os.environ


def print_notes(*notes: str) -> None:
    """Print lines to stderr, of several processes only by the first.

    This may be before the process group is there; until then Slurm gives the rank its own name.
    """
    if os.environ.get('RANK', os.environ.get('SLURM_PROCID', '0')) == '0':
        print(*notes, sep='\n', file=sys.stderr)


def end_after(main: Callable[[], object]) -> NoReturn:
    """Call a command, and end the process as soon as it has returned.

    Python would first take apart the four thousand modules that training loads, for two
    seconds of a core. What is to run at the end of a process, as the logs' closing and the
    ends of child processes, runs here; only that is left out.

    Args:
        main: Returns the exit status, or None for 0.
    """
    status: Any = 1
    try:
        status = main()
    except SystemExit as end:
        status = end.code
    except KeyboardInterrupt:
        # While modules are imported, for seconds; `user_errors` takes what comes later.
        status = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    # As Python does: first the threads end, then what has been registered runs.
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status or 0)


@contextmanager
def user_errors(*, setup: bool) -> Iterator[None]:
    """Show an error that the user can mend as one `error: ...` line and exit.

    The process ends with status 2 for a `ConfigError`, 130 on Ctrl-C, 141 without a word if
    what reads its output has ended (`... | head`), and 1 otherwise. Of several processes only
    the first prints, unless it is about clips, which each process reads by itself, or
    the processes do not meet. With
    `MMACTION_TRACEBACK=1` in the environment nothing is caught.

    Args:
        setup: True around the steps before the first batch, where any error comes from
            what the user gave. False while training or testing, where only the errors of
            `mmaction.errors`, full memory and the end of a data-loading worker do, and
            everything else keeps its traceback.
    """
    if not setup:
        gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if sys.platform != 'win32' and isinstance(error, BrokenPipeError) and _reader_has_ended():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python writes as it ends
            sys.exit(128 + signal.SIGPIPE)  # as a shell shows it
        hint = _from_outside(error)
        if os.environ.get('MMACTION_TRACEBACK') == '1' or not (
            setup or hint or isinstance(error, _OWN) or _has_lost_another(error)
        ):
            raise
        if _has_lost_another(error):
            error = TrainingError(_LOST)
        if _is_main() or hint or isinstance(error, (LaunchError, UnreadableVideoError)):
            kind = '' if hint or isinstance(error, _READABLE) else f'{type(error).__name__}: '
            text = describe(error).rstrip('.') if hint else describe(error)
            line = '' if hint or isinstance(error, _OWN) else user_line(error)
            text += f' ({line})' if line else ''
            print(f'error: {kind}{text}{hint}', file=sys.stderr, flush=True)
            if not hint and not isinstance(error, _PLAIN):
                print('(MMACTION_TRACEBACK=1 shows where it was raised)', file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def _reader_has_ended() -> bool:
    """Whether standard output is a pipe that nothing reads any more."""
    if sys.platform == 'win32':
        return False
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


_LOST = (
    'another process of this run has ended, as its own message or the launcher says; '
    '--resume continues from the last checkpoint'
)


def _has_lost_another(error: Exception) -> bool:
    """Whether gloo says that another process is gone, of which it tells no more."""
    return re.search(r'/gloo/.*Connection (closed|reset) by peer', str(error)) is not None


def _from_outside(error: Exception) -> str:
    """What to do about an error that the machine is to blame for; empty for others."""
    text = str(error)
    if re.match(r'DataLoader worker \(pid.*\) (is killed|exited)', text):
        return (
            ': most often memory ran out; fewer num_workers, or a smaller batch_size or '
            'prefetch_factor; --resume continues from the last checkpoint'
        )
    if type(error).__name__ == 'OutOfMemoryError':  # torch is not imported for it
        return (
            '. A smaller batch_size with optim_wrapper.accumulative_counts, --amp or '
            'model.backbone.use_checkpoint=True take less memory'
        )
    return ''


def describe(error: BaseException) -> str:
    """The message of an error on one line."""
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0])
    else:
        text = str(error) or traceback.format_exception_only(error)[-1]
    if text.startswith('Caught ') and ' in DataLoader worker ' in text:
        # The message is at the end of the worker's traceback.
        text = text.rpartition(f'{type(error).__name__}: ')[2]
    text = one_line(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + '...'


def note_place(error: BaseException, step: str = '') -> None:
    """Leave in an error where it was raised, for `raised_in`: tracebacks stay in their process.

    Args:
        error: The error; what was noted first stays.
        step: What was being done.
    """
    place = ', '.join(filter(None, (step, user_line(error))))
    vars(error).setdefault('raised_in', place)


def raised_in(error: BaseException) -> str:
    """Where an error was raised, as noted or by its traceback; empty if in no code of the user."""
    return str(vars(error).get('raised_in') or user_line(error))


def user_line(error: BaseException) -> str:
    """`FILE, line N` of the user's code in which an error was raised; empty if none had a part."""
    ours = Path(__file__).parents[1]
    others = (ours, ours.parent / 'tools', ours.parent / 'demo', Path(os.__file__).parent)
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        path = Path(frame.f_code.co_filename)
        is_installed = 'site-packages' in path.parts
        if path.is_file() and not is_installed and not any(f in path.parents for f in others):
            return f'{path}, line {line}'
    return ''


_FILES = {
    'config': 'config file',
    'configs': 'config file',
    'checkpoint': 'checkpoint',
    'results': 'file of results',
    'label': 'label file',
    'video': 'video file or folder of frames',
    'folder': 'folder',
    'annotations': 'folder',
    'videos': 'folder',
    'list': 'list or folder',
    'lists': 'list',
    'int8': 'list',
    'old': 'config file',
    'run': 'folder of a training',
    'runs': 'run',
}


def check_files(args: argparse.Namespace, *names: str) -> None:
    """End with one `error: ...` line where a file is missing, or is another kind of file.

    Commands call it before they import what takes seconds, of which `quick_imports` spares them
    some. Addresses (`https://...`), `-` and options that were not given are left alone. A
    config may be named instead (see `find_config`); its path takes the place of the name.

    Args:
        args: The command line.
        names: Its attributes that are paths, or lists of paths.
    """
    with user_errors(setup=True):
        for name in names:
            value = getattr(args, name)
            if name == 'config' and value is not None:
                args.config = str(find_config(value))
                continue
            for path in value if isinstance(value, list) else [value]:
                # Addresses; of two slashes a `Path` leaves one.
                if path in (None, '-') or re.match(r'\w{2,}:/', str(path)):
                    continue
                if not Path(path).expanduser().exists():
                    raise FileNotFoundError(missing_file(path, _FILES[name]))
                if name in ('checkpoint', 'video'):
                    other = other_kind(Path(path).expanduser(), _FILES[name])
                    if other is not None:
                        raise ValueError(other)
    quick_imports()


_THRESHOLDS = gc.get_threshold()


def quick_imports() -> None:
    """Make what a command imports from here on load in four fifths of the time.

    Nearly all that is imported stays, and Python would look through it for garbage several times;
    it does so again from the first batch on (`user_errors`), where garbage may hold a GPU's memory.
    """
    leave_out_adafactor()
    gc.set_threshold(10_000)


_MMENGINE_OPTIMIZERS = 'mmengine.optim.optimizer.builder'


class _NoAdafactor(MetaPathFinder):
    """Hides transformers from one module of mmengine while that is imported."""

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> None:
        """Leave all modules to the other finders; no transformers for mmengine's optimizers."""
        builder = sys.modules.get(_MMENGINE_OPTIMIZERS) if name == 'transformers' else None
        if getattr(getattr(builder, '__spec__', None), '_initializing', False):
            raise ModuleNotFoundError('Adafactor is imported when a config names it')


def leave_out_adafactor() -> None:
    """Keep mmengine from importing transformers and peft for one optimizer.

    Where they are installed, mmengine does so at once, which takes 5 to 8 s of every start;
    `mmaction.engine.optimizers.adafactor` imports the optimizer when a config names it.
    """
    if not any(isinstance(finder, _NoAdafactor) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoAdafactor())


class Parser(argparse.ArgumentParser):
    """A parser of command lines that tells a mistake in one sentence, with what may be meant.

    A file `-clip.mp4` is taken for one, though its name begins as those of options do, and in
    `--amp CONFIG` the config is no precision. The description is shown as it is written.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **kwargs)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse does, once files are told from options, and from their values."""
        words = [self._as_path(word) for word in (sys.argv[1:] if args is None else args)]
        following = [*words, None][1:]
        told = [self._with_value(*pair) for pair in zip(words, following, strict=True)]
        return super().parse_known_args(told, namespace)

    def _with_value(self, word: str, following: str | None) -> str:
        """An option whose value may be left out takes what follows only if it is a choice."""
        action = self._option_string_actions.get(word)
        if action is None or action.nargs != '?' or not action.choices:
            return word
        return word if following in action.choices else f'{word}={action.const}'

    def _as_path(self, word: str) -> str:
        # Numbers, `-n5` and beginnings of options remain what they are.
        known = self._option_string_actions
        start = word.partition('=')[0]
        is_option = word[:2] in known or any(option.startswith(start) for option in known)
        is_name = word.startswith('-') and not re.fullmatch(r'[-\d.]+', word)
        return f'./{word}' if is_name and not is_option and os.path.lexists(word) else word

    def error(self, message: str) -> NoReturn:
        """End with status 2 and one `error: ...` line."""
        self.exit(2, f'error: {self._advice(message)} (see "{self.prog} --help")\n')

    def _advice(self, message: str) -> str:
        options = [
            name
            for action in self._actions
            if action.help != argparse.SUPPRESS
            for name in action.option_strings
            if name.startswith('--')
        ]
        found = re.match(r'unrecognized arguments: (.*)', message)
        if found:
            given = found[1].split()
            name = next((word for word in given if word.startswith('-')), None)
            if name is None:
                return f'{given[0]} is one argument too many'
            name = name.partition('=')[0]
            return f'there is no option {name}{did_you_mean(name, options)}'
        found = re.match(r"argument (.+): invalid choice: '?(.*?)'? \(choose from (.*)\)", message)
        if found:
            known = [name.strip(" '") for name in found[3].split(',')]
            near = did_you_mean(found[2], known)
            return f'{found[1]}: there is no {found[2]}{near or f"; choose from {found[3]}"}'
        found = re.match(r'the following arguments are required: (.*)', message)
        return f'{found[1]} is missing' if found else message.removeprefix('argument ')


def one_line(text: str) -> str:
    """A text with line breaks, tabs and runs of blanks made one blank."""
    return ' '.join(text.split())


def brief(value: object, length: int = 60) -> str:
    """A value as messages show it: of a long one only the beginning, lest data fill them."""
    # Before `repr`, which of megabytes takes its time.
    if isinstance(value, (str, bytes)):
        value = value[: length + 1]
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + '...'


def some(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def printable(name: str | Path) -> str:
    """A file name that any terminal can show, on one line."""
    text = str(name).encode('utf-8', 'backslashreplace').decode('utf-8')
    return text.replace('\n', '\\n')


def available_cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, 'sched_getaffinity', None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def add_job_options(parser: argparse.ArgumentParser, timeout: float) -> None:
    """Add `--workers` and `--timeout`."""

    def positive(text: str) -> float:
        value = float(text)
        if not 0 < value < float('inf'):
            raise argparse.ArgumentTypeError(f'{text} is not above 0')
        return value

    def count(text: str) -> int:
        value = int(text)
        if value < 1:
            raise argparse.ArgumentTypeError(f'{text} is not at least 1')
        return value

    parser.add_argument(
        '--workers',
        type=count,
        default=available_cores(),
        help=f'files at the same time ({available_cores()})',
    )
    parser.add_argument(
        '--timeout',
        type=positive,
        default=timeout,
        metavar='SECONDS',
        help='time for one file, after which it counts as bad (%(default)g)',
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add `--cfg-options KEY=VALUE ...`, which may be given several times, and its name of 0.x."""
    parser.add_argument(
        '--cfg-options',
        '--options',
        nargs='+',
        action='extend',
        default=[],
        metavar='KEY=VALUE',
        help='change the config: model.backbone.pretrained=FILE data_root="a folder" lr=[1,2]',
    )


def add_model_args(
    parser: argparse.ArgumentParser, *, video: bool = False, label: bool = False
) -> None:
    """Add what every demo takes: the model, where it runs, and changes of its config.

    Args:
        parser: The parser.
        video: Whether there is one video.
        label: Whether class names may follow.
    """
    add = parser.add_argument
    add('config', help='config file')
    add('checkpoint', help='checkpoint file or URL')
    if video:
        add('video', help='video file or folder of frames img_00001.jpg, ...')
    if label:
        names = 'names of the classes, one a line (default: of the checkpoint)'
        add('label', nargs='?', help=names)
    add('--device', help='cpu or cuda:0 (default: the first GPU, if there is one)')
    add_cfg_options(parser)
