"""Fixtures of the client's tests."""

from tests.support.client_kit import clock, folder, start

__all__ = ["clock", "folder", "start"]
