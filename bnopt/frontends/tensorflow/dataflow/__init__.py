"""What flows where in a TensorFlow graph: variables, updates, batch norms, switches."""
