"""What runs an export: a local server with TensorFlow Serving's APIs, clients, and files for the real server."""
