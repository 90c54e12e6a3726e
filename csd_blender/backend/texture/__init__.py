"""From a surface to an image and back: UV maps found, checked and made, and a field of colors baked into them.

May import fields, geometry and support, and job for its errors; not render. Read first: unwrap, then bake.
"""
