"""Another texture for meshes that have one. May import what kinds may, and texture. Read first: settings."""
