"""A new object made from a prompt. May import what kinds may. Read first: settings."""
