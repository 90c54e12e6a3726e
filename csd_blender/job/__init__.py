"""The contract between Blender and the backend. Standard library only, Python 3.9 or later."""
