"""The contract between Blender and the backend. Standard library only, Python 3.9 or later.

May import nothing else of the package. Read first: files (the names in a job's folder), spec, folder, result, then
process; ``docs/contract.md`` tells it as a whole.
"""
