"""Decoding: the key-value cache, the samplers and the loop, as graph operations."""
