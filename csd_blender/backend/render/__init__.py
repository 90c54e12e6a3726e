"""Cameras, the differentiable rasterizer with its interchangeable backends, and simple shading."""
