"""What build.py's commands do, a file each; here and above only the standard library, on Python 3.9 or later.

They share what lies one folder up (paths, environments, a Blender to run scripts in …). Read first: demo.py.
"""
