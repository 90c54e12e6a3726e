"""The growing texture on the mesh: a temporary material over the slots, outside undo, taken away without a trace.

What a preview hides is written where it hides it: covered slots on the object (``Object.csd``), an added UV map or slot
on the mesh. So it always belongs to the same state of the file as what it is about: after an undo, a load or a crash,
and when one of several objects that share the mesh is deleted, :func:`cover.uncover_all` still finds what to bring
back.

Read first: cover, then slots.
"""
