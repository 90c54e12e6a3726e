"""A texture for the selected meshes. May import what kinds may. Read first: settings."""
