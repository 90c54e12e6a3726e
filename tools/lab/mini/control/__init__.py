"""Training of the mini model's ControlNet: shapes with modelled features, pictures with depth and normals, the steps.

May import the rest of ``mini`` and the backend. Read first: relief, then pictures, then train.
"""
