"""What build.py does, one file for each command. Standard library only, Python 3.9 or later."""
