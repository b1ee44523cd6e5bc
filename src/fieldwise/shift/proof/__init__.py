"""The proof, from the graph alone, of how every value answers a shift of the input."""
