"""Detectors of proposed regions: R-CNN and Fast R-CNN, on selective search."""
