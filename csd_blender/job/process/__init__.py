"""The process behind Blender, seen from outside: messages, their bodies, the client with its threads, and how
processes end.

May import job/errors and job/folder. Read first: messages, then bodies (every message with its fields), then client.
"""
