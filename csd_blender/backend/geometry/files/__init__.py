"""One strict reader for each mesh format: a file is read right or refused by name.

May import geometry/mesh, and job for its errors. Read first: common.
"""
