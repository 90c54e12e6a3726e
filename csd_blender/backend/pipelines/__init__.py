"""One file for each job a user can start, readable from top to bottom as the method itself."""
