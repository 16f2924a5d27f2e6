"""DECA's training: its three stages, as its authors ran them (Feng et al. 2021, section 4) or with their slips mended.

`stages` has one function a stage that turns a batch into named losses; `losses`, `identity` and `perceptual` the terms,
`data` what a batch is read from, `trainer` the loop with checkpoints.
"""
