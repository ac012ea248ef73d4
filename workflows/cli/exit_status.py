"""Exit statuses of the command line."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_PARTIAL = 3  # some participants or runs failed; argparse uses 2 for wrong usage
