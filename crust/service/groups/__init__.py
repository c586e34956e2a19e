"""Connections that are kept up: groups of peers, and single ones."""
