"""``build.py bench --methods`` and its like: the methods of score distillation side by side.

Tables of hours, made row by row. Read first: rows, then table.
"""
