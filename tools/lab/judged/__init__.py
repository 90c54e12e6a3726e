"""Results judged: textures, objects and edits of fixed lists, named by judges that cannot see the prompts, and how near
pictures are to their prompts and to each other.

May import the product and the laboratory's models. Read first: quality_textures.
"""
