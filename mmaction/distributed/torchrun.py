"""torchrun with one quiet line at the end instead of a page, and the worker's exit status.

`python -m mmaction.distributed.torchrun` takes the arguments of torchrun.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from torch.distributed import DistNetworkError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser, run

from .launch import core_share

__all__ = ['main']


def main(arguments: list[str] | None = None) -> int:
    """Run workers until all have ended.

    A worker that raised has printed its own traceback; torchrun's report would
    only bury it.

    Returns:
        0, or the exit status of the worker that failed first (128 + the number
        of the signal that ended it).
    """
    args = get_args_parser().parse_args(arguments)
    if args.nproc_per_node.isdigit():
        # torchrun would set 1, and warn about it.
        os.environ.setdefault('OMP_NUM_THREADS', str(core_share(int(args.nproc_per_node))))
    if args.standalone:
        # The machine's name need not have an address, as that of a laptop away from its network:
        # the processes would look it up for minutes.
        args.local_addr = args.local_addr or '127.0.0.1'
    level = os.environ.get('LOGLEVEL', 'CRITICAL').upper()
    for name in list(logging.root.manager.loggerDict):
        if name.startswith('torch.distributed.elastic'):
            logging.getLogger(name).setLevel(level)
    try:
        run(args)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        status = failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
        if status > 2:
            ended = f'status {status}' if status < 128 else signal.Signals(status - 128).name
            print(f'process {rank} ended with {ended}; the others were stopped', file=sys.stderr)
        return status
    except DistNetworkError as error:
        if 'EADDRINUSE' not in str(error):
            raise
        where = args.rdzv_endpoint or f'port {args.master_port}'
        print(f'error: {where} is in use; set PORT to another', file=sys.stderr)
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


if __name__ == '__main__':
    sys.exit(main())
