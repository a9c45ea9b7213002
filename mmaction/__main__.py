"""`python -m mmaction` is the command `mmaction`."""

from mmaction.cli.main import run

__all__: list[str] = []

if __name__ == '__main__':
    run()
