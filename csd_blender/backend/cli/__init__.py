"""The command line. May import everything of the backend. Read first: main."""
