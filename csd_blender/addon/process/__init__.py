"""The backend process and its Set Up as this Blender session has them.

May import session, preferences and job. Read first: backend.
"""
