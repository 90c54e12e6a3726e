"""What a job is: a settings field (label, help, range, default) and the specs made of them.

May import job/errors. Read first: fields, then texture.
"""
