"""The bundled miniature model: its vocabulary, and its weights as diffusers saves them.

May import nothing of the package. Read first: vocabulary.
"""
