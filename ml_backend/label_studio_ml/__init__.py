"""The same backend for teams that run theirs with label-studio-ml; see the README beside this file."""
