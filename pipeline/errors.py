"""What can go wrong in the data plane; each class says what the operator should do."""


class PipelineError(Exception):
    """Base of every error the data plane raises on purpose."""


class SourceError(PipelineError):
    """A source cannot be found or read as the layout says: check its URI, layout and name."""


class ShardCorruptError(PipelineError):
    """A stored shard is not what the catalog says it is: restore or remake that shard."""


class CatalogConflictError(PipelineError):
    """The catalog holds something else under that name: use another name or the same settings."""


class CatalogVersionError(CatalogConflictError):
    """Another version of this code wrote the catalog; the message says which one has to move."""


class WithdrawnError(CatalogConflictError):
    """It was withdrawn, and is not used again: leave it out, or give new data another name."""


class CatalogMissingError(PipelineError):
    """The catalog does not know that name: see `factory catalog` for the names it knows."""


class LeaseLostError(PipelineError):
    """Somebody else owns the work now: drop the result, its owner will commit its own."""


class StorageError(PipelineError):
    """The store cannot be reached or written: check address, credentials, free space; rerun."""


class StoreFullError(StorageError):
    """The store takes no more: free space or raise the quota, and run the same command again."""
