"""From the model's evidence to the images: saliency and analysed region on the grid of the dynamic series."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..findings import SalientPlace
from ..volume import FloatArray, Volume

NEAR_MM = 10.0  # radius around the hottest voxel whose share of the saliency is stated


def on_grid(array: FloatArray, affine: FloatArray, grid: Volume) -> npt.NDArray[np.float32]:
    """An array (W, H, D) with its affine, resampled linearly to the voxels of `grid`; zero outside."""
    to_source = np.linalg.inv(affine) @ grid.affine
    return np.asarray(
        ndimage.affine_transform(
            np.asarray(array, np.float32),
            to_source[:3, :3],
            to_source[:3, 3],
            output_shape=grid.voxels.shape[1:],
            order=1,
            mode="constant",
        )
    )


def map_evidence(evidence: Mapping[str, FloatArray], dce: Volume) -> dict[str, npt.NDArray[np.generic]]:
    """`saliency` (float32, >= 0) and `mask` (bool) on the grid of the dynamic series, each (W, H, D).

    Saliency outside the analysed region is cut away: interpolation must not carry it onto skin or chest wall.
    """
    mask = on_grid(evidence["mask"], evidence["mask.affine"], dce) > 0.5
    saliency = on_grid(np.maximum(evidence["saliency"], 0), evidence["saliency.affine"], dce) * mask
    return {"saliency": saliency, "mask": mask}


def most_salient(saliency: FloatArray, dce: Volume) -> SalientPlace | None:
    """Where the saliency (W, H, D) on the grid of `dce` is highest; None where it is zero everywhere."""
    if not saliency.max() > 0:
        return None
    hottest = np.array(np.unravel_index(int(saliency.argmax()), saliency.shape))
    offsets = [(np.arange(n) - c) * s for n, c, s in zip(saliency.shape, hottest, dce.spacing, strict=True)]
    distance = sum(o.reshape([-1 if axis == i else 1 for i in range(3)]) ** 2 for axis, o in enumerate(offsets))
    near = float(saliency[np.asarray(distance) <= NEAR_MM**2].sum()) / float(saliency.sum())
    x, y, z = dce.to_patient(hottest[None].astype(float))[0].tolist()
    return SalientPlace((x, y, z), int(hottest[2]), near)
