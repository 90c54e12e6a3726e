"""What can be made, one folder a kind with the same files: settings, job, preview.

May import process and below, and the contract. Read first: texture/settings.
"""
