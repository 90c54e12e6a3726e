"""Pictures in the file and in the Image Editor. May import what scene may. Read first: add."""
