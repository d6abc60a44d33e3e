"""The data plane: sources in, shards and labels out, and the catalog that knows of both.

Imports neither ``jobs`` nor ``model``; numpy arrays are what crosses its border.
"""
