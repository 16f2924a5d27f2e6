"""Deep3DFaceReconstruction (Deng et al. 2019): one network from a crop to Basel coefficients, pose and light."""
