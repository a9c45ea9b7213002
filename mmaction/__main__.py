"""`python -m mmaction` is the command `mmaction`."""

from mmaction.cli.main import run

if __name__ == '__main__':
    run()
