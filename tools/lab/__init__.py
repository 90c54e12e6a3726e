"""Measurements that a person runs now and then, on special machines; they need the backend's packages."""
