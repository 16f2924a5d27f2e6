"""INORig: a personal rig from several photos by learned descent inside a network.

Bai, Cui, Liu and Tan, "Riggable 3D Face Reconstruction via In-Network Optimization", CVPR 2021. The optimiser is
first-order descent with predicted step sizes over codes of a person (identity, expression space, albedo) and of each
photo (expression, pose), in three levels from coarse to fine.
"""
