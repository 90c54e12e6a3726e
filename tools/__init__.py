"""What build.py does. Standard library only, Python 3.9 or later; the laboratory alone needs the backend's libraries.

commands/ holds a file for each command, in_blender/ the scripts that run inside Blender, lab/ benches and training for
developers; the files here are what these share. Read first: paths.py.
"""
