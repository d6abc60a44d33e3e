"""Alembic migrations of the catalog; they run when a catalog is opened.

A change of ``catalog_tables`` needs the next file in ``versions``, written so that it runs on both
databases; ``tests/unit/pipeline/test_catalog_schema.py`` says whether it gives the same schema.
"""
