"""Networks and mathematics: depth models, losses, perturbations, training step, metrics.

Imports neither ``jobs`` nor ``pipeline``; numpy arrays and tensors are what crosses its border.
"""
