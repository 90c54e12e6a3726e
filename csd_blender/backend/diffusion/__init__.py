"""Loading and calling diffusion models."""
