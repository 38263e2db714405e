"""Plain `nn.Module` models."""
