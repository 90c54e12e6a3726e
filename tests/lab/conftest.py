"""The tiny Stable Diffusion of the backend's tests, for the laboratory's as well."""

from tests.backend.conftest import tiny_folder

__all__ = ["tiny_folder"]
