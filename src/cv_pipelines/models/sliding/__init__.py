"""The sliding window: one classifier at every place and scale, crop by crop or as a convolution."""
