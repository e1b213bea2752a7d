"""Moments of what batch norms normalise, from data run through onnxruntime."""
