"""One strict reader for each mesh format: a file is read right or refused by name.

May import the contract. Read first: common.
"""
