"""What can be made, one folder a kind with the same files: settings, job, preview.

May import process, session, scene, properties and job. Read first: texture/settings.
"""
