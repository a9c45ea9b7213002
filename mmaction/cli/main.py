"""`mmaction VERB ...`: which command a verb is. Nothing else is imported before one is chosen."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

from mmaction.utils.cli import end_after, one_line
from mmaction.utils.suggest import did_you_mean
from mmaction.version import __version__

__all__ = ['main', 'run']

# The module of mmaction.cli, and what the verb does.
VERBS = {
    'finetune': ('finetune', 'from a folder of clips to a tested model, in one command'),
    'train': ('train', 'train a config'),
    'test': ('test', 'test a checkpoint'),
    'predict': ('predict', 'classify a video, the videos of a folder or of a list'),
    'report': ('report', 'make a page of a test: classes, mistakes, calibration'),
    'export': ('export', 'export a checkpoint to ONNX or torch.export'),
    'features': ('features', 'store the features of a list of clips'),
    'probe': ('probe', 'train linear, k-NN or attentive probes on a frozen backbone'),
    'publish': ('publish', 'write a run as a folder, or to the Hub, with a model card'),
    'prepare': ('prepare', 'prepare a folder of videos, or a public dataset, for training'),
    'pack': ('pack', 'pack the videos of a list into tar files'),
    'merge': ('merge', 'bring together what the shares of several machines have done'),
    'info': ('info', 'versions, devices and the configs of the package'),
}

HELP = f"""usage: mmaction VERB [options]

{chr(10).join(f'  {verb:9} {text}' for verb, (_, text) in VERBS.items())}

"mmaction VERB --help" lists the options of a verb. A CONFIG is a file, or the name of one of the
package ("mmaction info --configs"). In a checkout the scripts of tools/ are the same commands.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the verb; the exit status."""
    verb, *rest = (sys.argv[1:] if argv is None else argv) or ['--help']
    if verb in ('-h', '--help', 'help'):
        if rest and rest[0] in VERBS:
            return main([rest[0], '--help'])
        print(HELP, end='')
        return 0
    if verb in ('-V', '--version', 'version'):
        print(f'mmaction {__version__}')
        return 0
    if verb not in VERBS:
        given = one_line(verb)
        hint = did_you_mean(verb, VERBS, cutoff=0.55) or f'; there are {", ".join(VERBS)}'
        print(f'error: there is no verb {given}{hint} (see "mmaction --help")', file=sys.stderr)
        return 2
    status: int | None = import_module(f'mmaction.cli.{VERBS[verb][0]}').main(
        rest, f'mmaction {verb}'
    )
    return status or 0


def run() -> NoReturn:
    """The command `mmaction`: run the verb and end the process."""
    end_after(main)


if __name__ == '__main__':
    run()
