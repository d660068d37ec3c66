"""A backbone, a head, its loss and metrics, and the preprocessing that turns text into its inputs."""
