"""A prompt to a textured object in two stages. May import what pipelines may. Read first: job, then coarse."""
