"""The data form, its checks, splits, transforms and torch datasets."""
