"""What knows nothing of the method: reporting, clocks, pictures to bytes, how kernels are launched.

May import job. Read first: reporting, and warp_launch, the only file that loads and launches kernels.
"""
