"""Nodes that are channel affines, each with the condition under which they are."""
