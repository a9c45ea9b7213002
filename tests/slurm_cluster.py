"""A real Slurm on this machine: one node, or several in network namespaces of their own.

Debian's `slurm-wlm` and `munge` have to be installed, and the tests have to run as root. All that
is started is stopped at the end. A second slurmd of one host name takes no steps, so each further
node has a host name, an address and a mount of `/etc/hosts` of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ('munged', 'slurmctld', 'slurmd', 'srun', 'sbatch', 'scontrol')
SUBNET = '10.213.77'


def why_not(nodes: int = 1) -> str:
    """Why there can be no cluster here; empty if there can."""
    path = f'{os.environ["PATH"]}:/usr/sbin:/sbin'
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f'{", ".join(missing)} not installed'
    if os.geteuid() != 0:
        return 'Slurm starts as root'
    if nodes > 1:
        if shutil.which('ip', path=path) is None:
            return 'ip not installed'
        made = subprocess.run(['ip', 'netns', 'add', 'slurmprobe'], capture_output=True)
        if made.returncode:
            return 'no network namespaces'
        subprocess.run(['ip', 'netns', 'del', 'slurmprobe'], check=True)
    return ''


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class SlurmCluster:
    """Slurm with its files in a folder.

    Args:
        folder: An empty folder.
        nodes: 1 is this machine itself; more are namespaces n0, n1, ...

    Attributes:
        environment: For commands of Slurm.
        names: Names of the nodes.
    """

    def __init__(self, folder: Path, nodes: int = 1) -> None:
        self.folder = folder
        self.host = socket.gethostname().partition('.')[0]
        self.names = [self.host] if nodes == 1 else [f'sn{number}' for number in range(nodes)]
        self.environment = dict(SLURM_CONF=str(folder / 'slurm.conf'))
        self.started: list[subprocess.Popen] = []
        self.undo = contextlib.ExitStack()

    def __enter__(self) -> SlurmCluster:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        os.environ['PATH'] += ':/usr/sbin:/sbin'
        for name in ('state', 'spool', 'munge'):
            (self.folder / name).mkdir(parents=True)
        munge = self.folder / 'munge'
        (munge / 'key').write_bytes(os.urandom(1024))
        (munge / 'key').chmod(0o400)
        self._run_daemon(
            'munged', '--foreground', '--force', f'--key-file={munge}/key',
            f'--socket={munge}/socket', f'--pid-file={munge}/pid', f'--log-file={munge}/log',
            f'--seed-file={munge}/seed',
        )  # fmt: skip
        for _ in range(100):
            if (munge / 'socket').exists():
                break
            time.sleep(0.05)
        if len(self.names) > 1:
            self._make_network()
        (self.folder / 'slurm.conf').write_text(self._config())
        self._run_daemon('slurmctld', '-D')
        for name in self.names:
            self.start_node(name)
        for _ in range(150):
            if self.call('sinfo', '-h', '-o', '%D %t').split() == [str(len(self.names)), 'idle']:
                return
            time.sleep(0.2)
        raise RuntimeError(f'Slurm does not start: {self.call("sinfo")}')

    def _config(self) -> str:
        many = len(self.names) > 1
        address = f'{SUBNET}.254' if many else '127.0.0.1'
        lines = [
            'ClusterName=test',
            f'SlurmctldHost={self.host}({address})',
            'SlurmUser=root',
            'SlurmdUser=root',
            f'AuthInfo=socket={self.folder}/munge/socket',
            f'SlurmctldPort={free_port()}',
            f'SlurmdPort={free_port()}',
            f'StateSaveLocation={self.folder}/state',
            f'SlurmdSpoolDir={self.folder}/spool/%n',
            f'SlurmctldPidFile={self.folder}/slurmctld.pid',
            f'SlurmdPidFile={self.folder}/slurmd-%n.pid',
            f'SlurmctldLogFile={self.folder}/slurmctld.log',
            f'SlurmdLogFile={self.folder}/slurmd-%n.log',
            'ProctrackType=proctrack/linuxproc',
            'TaskPlugin=task/none',
            'SelectType=select/cons_tres',
            'JobRequeue=1',
            'ReturnToService=2',
            'KillWait=5',
            'SlurmdTimeout=15',
            'SchedulerParameters=requeue_delay=1',
            'PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP',
        ]
        for number, name in enumerate(self.names):
            own = f'{SUBNET}.{number + 1}' if many else '127.0.0.1'
            lines.append(f'NodeName={name} NodeAddr={own} CPUs=2 State=UNKNOWN')
        return '\n'.join(lines) + '\n'

    def _make_network(self) -> None:
        """A bridge of this machine, with a namespace for each node."""
        hosts = [f'{SUBNET}.{i + 1} {name}' for i, name in enumerate(self.names)]
        hosts.append(f'{SUBNET}.254 {self.host}')
        (self.folder / 'hosts').write_text('127.0.0.1 localhost\n' + '\n'.join(hosts) + '\n')
        self._ip('link', 'add', 'slurmbr', 'type', 'bridge')
        self.undo.callback(self._ip, 'link', 'del', 'slurmbr')
        self._ip('addr', 'add', f'{SUBNET}.254/24', 'dev', 'slurmbr')
        self._ip('link', 'set', 'slurmbr', 'up')
        for number, name in enumerate(self.names):
            self._ip('netns', 'add', name)
            self.undo.callback(self._ip, 'netns', 'del', name)
            self._ip('link', 'add', f'v{name}', 'type', 'veth', 'peer', 'eth0', 'netns', name)
            self._ip('link', 'set', f'v{name}', 'master', 'slurmbr', 'up')
            within = ('netns', 'exec', name, 'ip')
            self._ip(*within, 'addr', 'add', f'{SUBNET}.{number + 1}/24', 'dev', 'eth0')
            self._ip(*within, 'link', 'set', 'eth0', 'up')
            self._ip(*within, 'link', 'set', 'lo', 'up')

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(['ip', *arguments], check=True)

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        command = ['slurmd', '-D', '-N', name]
        if len(self.names) > 1:
            # Not "ip netns exec", in whose /sys slurmd finds no cgroups.
            inside = f'mount --bind {self.folder}/hosts /etc/hosts && hostname {name} && '
            inside += f'exec slurmd -D -N {name}'
            command = [
                f'--net=/run/netns/{name}',
                'unshare',
                '--uts',
                '--mount',
                'bash',
                '-c',
                inside,
            ]
            command.insert(0, 'nsenter')
        self._run_daemon(*command)

    def _run_daemon(self, *command: str) -> None:
        with open(self.folder / 'daemons.log', 'a') as log:
            self.started.append(
                subprocess.Popen(
                    command,
                    env={**os.environ, **self.environment},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def cut_off(self, name: str) -> None:
        """Take a node off the network, as a machine that has died."""
        self._ip('link', 'set', f'v{name}', 'down')

    def reconnect(self, name: str) -> None:
        """Undo `cut_off`."""
        self._ip('link', 'set', f'v{name}', 'up')

    def call(self, *command: str, **environment: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            command,
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout + done.stderr

    def __exit__(self, *_) -> None:
        with contextlib.suppress(Exception):
            self.call('scancel', '--full', '-u', 'root')
            time.sleep(2)
        for process in reversed(self.started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in reversed(self.started):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(5)
        self.undo.close()
