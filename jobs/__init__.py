"""The command line and Ray: what composes the ``pipeline`` and ``model`` rooms into verbs."""
