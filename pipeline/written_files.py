"""Raw files as Ingest wrote them, compared with the objects that the bucket has now.

A listing gives the ETag of each object, which is another one for other content. It may also be
another one for the same content: an object that was copied, restored from a version or encrypted
anew has an ETag of its own. Only then the object is read, and its digest decides.

Source: Amazon S3 API Reference, "Object": the ETag reflects changes to the content of an object,
and is no digest of it where AWS KMS encrypts the object.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.object_store import ObjectStore, StoredObject


@dataclass(frozen=True)
class Written:
    """What Ingest wrote as one raw file.

    Attributes:
        size: The size in bytes; 0 in a manifest that was written before this field existed. No raw
            file is empty.
        etag: The ETag that Amazon S3 answered with; empty likewise.
        sha256: The digest of the content, in hexadecimal digits; empty likewise.
    """

    size: int = 0
    etag: str = ""
    sha256: str = ""


def unlike_written(objects: ObjectStore, found: StoredObject, written: Written) -> str:
    """Returns how an object differs from what Ingest wrote; empty if it does not.

    Args:
        objects: The raw bucket.
        found: The object, as a listing has it.
        written: What was written to its key.
    """
    if not found.size or written.size not in (0, found.size):
        wanted = f", and {written.size} were written" if written.size else ""
        return f"has {found.size} bytes{wanted}"
    if written.etag in ("", found.etag) or objects.sha256(found.key) == written.sha256:
        return ""
    return "has other content than was written"


def by_folder(files: Mapping[str, Written]) -> Iterator[dict[str, Written]]:
    """Yields files by the folder that they are in, as one listing has them."""
    folders: dict[str, dict[str, Written]] = {}
    for key, written in files.items():
        folders.setdefault(key.rpartition("/")[0], {})[key] = written
    yield from folders.values()


def unlike_in_folder(objects: ObjectStore, files: Mapping[str, Written]) -> dict[str, str]:
    """Returns how each object of one folder differs from what Ingest wrote, if it does.

    Args:
        objects: The raw bucket.
        files: The files, by key.
    """
    first, last = min(files), max(files)
    differing = dict.fromkeys(files, "is missing")
    for found in objects.keys(f"{first.rpartition('/')[0]}/", first[:-1]):
        if found.key > last:
            break
        if found.key in files:
            differing[found.key] = unlike_written(objects, found, files[found.key])
    return {key: difference for key, difference in differing.items() if difference}
