"""Write the lists of a dataset: the second half of `mmaction prepare FOLDER`."""

from mmaction.cli.build_file_list import main

if __name__ == '__main__':
    main()
