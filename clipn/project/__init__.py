"""The project around the library: params.yaml, profiles, checks of inputs."""
