"""A differentiable rasterizer behind one interface: in Warp, in PyTorch as its readable twin, and nvdiffrast's.

May import support. Read first: interface; topology has a mesh's edges, choose gives an implementation.
"""
