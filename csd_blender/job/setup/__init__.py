"""Makes the Python environment of the backend from hashed locks.

May import job/errors, job/folder and job/process. Read first: environment.
"""
