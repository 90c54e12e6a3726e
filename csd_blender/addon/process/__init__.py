"""The backend process and its Set Up as this Blender session has them.

May import session and below, and the contract. Read first: backend.
"""
