"""The process behind Blender: JSON lines in and out, one job at a time.

May import pipelines and below. Read first: serve, then run_job.
"""
