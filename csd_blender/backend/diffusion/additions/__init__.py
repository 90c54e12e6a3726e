"""What a job adds to a model, loaded from its folder and held against the model: ControlNets, a small encoder.

Read first: load_control.py.
"""
