"""What the command line's exit status means."""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CANCELLED = 130  # Ctrl+C; the best so far is kept
EXIT_UNREAD = 141  # nobody reads the output any more
EXIT_TERMINATED = 143  # a checkpoint is stored first
