"""The pipeline's errors: one tree, whose class names the state machine retries and reports by.

A message says what happened, to which table, and what to do about it.
"""


class PipelineError(Exception):
    """Anything that stops a run."""


class TransientError(PipelineError):
    """Worth a retry: the same call may succeed later. The state machine retries these by name."""


class PermanentError(PipelineError):
    """A retry cannot help: somebody has to change something first."""


class SourceUnavailable(TransientError):
    """The source database refused or dropped the connection."""


class SourceBusy(TransientError):
    """The source database cancelled a query: a lock or a statement took too long."""


class WarehouseUnavailable(TransientError):
    """The warehouse refused or dropped the connection."""


class WarehouseBusy(TransientError):
    """The warehouse cancelled a statement: a lock or a statement took too long."""


class ObjectStoreUnavailable(TransientError):
    """Amazon S3, Glue or Secrets Manager did not answer as it should, for now."""


class InvalidInput(PermanentError):
    """The execution's input or an argument holds something the pipeline does not know."""


class InvalidSettings(PermanentError):
    """A setting of the deployment is missing or malformed."""


class AccessRefused(PermanentError):
    """A policy of AWS does not allow the pipeline a call that it has to make."""


class ObjectMissing(PermanentError):
    """Amazon S3 has no object of a key that should be there."""


class RawFilesChanged(PermanentError):
    """Files of the raw zone are not those that Ingest wrote."""


class ObjectArchived(PermanentError):
    """An object is in an archive of Amazon S3, where it cannot be read."""


class DeclarationInvalid(PermanentError):
    """The declaration of a star table or of a source table is malformed or incomplete."""


class DatabaseRefused(PermanentError):
    """A database rejected a statement or the credentials."""


class ManifestInvalid(PermanentError):
    """A run's manifest cannot be read as what it should be."""


class RunConflict(PermanentError):
    """Another execution came further at the same time, and this one gave way."""


class LockLost(PermanentError):
    """The lock was freed by hand, or taken by another execution, before its holder released it."""


class SourceSchemaChanged(PermanentError):
    """A table lost or retyped a column that the pipeline needs."""


class TablesNotTaken(PermanentError):
    """A table that a star table needs, or that the input asked for, could not be captured."""


class StarTablesBehind(PermanentError):
    """A star table is not loaded through the newest run; the others are."""


class QualityRuleBroken(PermanentError):
    """A row breaks a rule that is declared to stop its star table."""


class CommitConflict(PermanentError):
    """Another writer committed to a table of the lake at the same time, at every attempt."""


class LakeTableChanged(PermanentError):
    """Another writer changed a table of the lake in a way that a build cannot continue from."""


class TableBuildFailed(PermanentError):
    """One or more star tables could not be built; the others were."""


class TableMaintenanceFailed(PermanentError):
    """One or more tables of the lake could not be maintained; no row of any is lost."""


class MigrationFailed(PermanentError):
    """A migration of the warehouse failed, or was changed after it had been applied."""


class StarSchemaMismatch(PermanentError):
    """A lake table and its warehouse table disagree about their columns."""


class VerificationFailed(PermanentError):
    """Source, star schema and warehouse differ, or could not be proved equal."""


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or the error's name if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def unavailability(sqlstate: str | None) -> str:
    """Returns what a database does that is unavailable, for a message.

    Of class 53 are a full disk, too many connections and `temp_file_limit`: the server answers.
    """
    return "lacks resources" if (sqlstate or "").startswith("53") else "cannot be reached"
