"""MOME: a mixture of modality experts for multiparametric breast MRI (Luo et al., Nat Commun 16:3647, 2025).

Arrays, spacings and affines in, scores and saliency out; knows no DICOM and no node.
"""
