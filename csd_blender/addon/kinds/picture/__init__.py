"""Pictures for the Image Editor. May import what kinds may. Read first: settings."""
