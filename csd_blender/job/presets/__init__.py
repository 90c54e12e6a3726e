"""What a job gets that nobody set: tables by model and quality, and the published recipes.

May import job/spec, job/models and job/errors. Read first: texture.
"""
