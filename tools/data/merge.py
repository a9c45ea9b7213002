"""Bring shares together: `mmaction merge`, as a script of the checkout."""

from mmaction.cli.merge import main

if __name__ == '__main__':
    main()
