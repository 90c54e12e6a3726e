"""The only files that touch bpy.data: meshes out, results in, previews on and off.

May import addon/errors and job. Read first: export, then apply_texture.
"""
