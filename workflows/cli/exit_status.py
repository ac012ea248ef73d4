"""Exit statuses of the command line."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_PARTIAL = 3  # finished, and some people or runs failed; 2 is argparse's
