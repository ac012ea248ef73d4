"""Read text files in the encodings that laboratories use."""

import codecs
from pathlib import Path
from stat import S_ISREG

from circuitshift.pipeline.errors import TableError

__all__ = ["read_encoded_text", "read_text"]

# Upper limit for plausible tables, because a wrong file could otherwise exhaust the memory. Time
# series of 1000 regions and 20,000 volumes have 200 MB.
_MAX_BYTES = 256 * 2**20
# Names of encodings in messages. The mark of UTF-32 begins with that of UTF-16.
_ENCODING_NAMES = {
    "utf-8-sig": "UTF-8",
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be"), "UTF-16"),
    **dict.fromkeys(("utf-32", "utf-32-le", "utf-32-be"), "UTF-32"),
}
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_N_SAMPLED = 4096  # bytes that show the encoding
# First bytes of files that are often saved under the name of a table.
_BINARY = (
    (b"PK\x03\x04", "a spreadsheet or zip archive"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"%PDF", "a PDF document"),
)
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def read_text(path: Path) -> str:
    """Read a text file, removing a byte-order mark and converting line ends to Unix style.

    Parameters
    ----------
    path : Path
        Text file in UTF-8, or in UTF-16 or UTF-32 as stated by its byte-order mark.

    Returns
    -------
    str

    Raises
    ------
    TableError
        If the file is missing, a link to content that was never fetched, empty, larger than
        256 MB, or not text.
    """
    return read_encoded_text(path)[0]


def read_encoded_text(path: Path, *, legacy: bool = False) -> tuple[str, str]:
    """Read a text file like `read_text`, and return its encoding as well.

    Parameters
    ----------
    path : Path
        Text file.
    legacy : bool, default=False
        Whether text that is not Unicode is read as Western European (Windows-1252), which
        spreadsheets write. Letters with accents may then be wrong, if the file has another
        encoding.

    Returns
    -------
    text : str
        The content, with Unix line ends.
    encoding : str
        ``UTF-8``, ``UTF-16``, ``UTF-32`` or ``Windows-1252``.

    Raises
    ------
    TableError
        As `read_text`.
    """
    raw = _read_bytes(path)
    _refuse_other_files(path, raw)
    encoding = _unicode_encoding(raw)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise TableError(
                f"{path}: it is not valid {encoding.upper()}; save it as UTF-8"
            ) from None
        if not legacy or not _is_legacy_text(raw):
            raise TableError(
                f"{path}: it is not UTF-8 text (byte {error.start}); save it as UTF-8"
            ) from None
        text, encoding = raw.decode("cp1252"), "Windows-1252"
    if "\0" in text:
        raise TableError(f"{path}: it is not text (it contains zero bytes); write it again")
    if not text.strip():
        raise TableError(f"{path}: it is empty; write or fetch it again")
    text = text.removeprefix("\ufeff").replace("\r\r\n", "\n").replace("\r\n", "\n")
    return text.replace("\r", "\n"), _ENCODING_NAMES.get(encoding, encoding)


def _unicode_encoding(raw: bytes) -> str:
    """Find the Unicode encoding of a text from its byte-order mark or its zero bytes."""
    for mark, encoding in _MARKS:
        if raw.startswith(mark):
            return encoding
    # Latin text in UTF-16 without a mark has a zero byte beside each letter.
    sample = raw[:_N_SAMPLED]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    most = 0.4 * len(sample)
    if len(raw) % 2 == 0 and len(sample) > 8 and not (even and odd):
        if odd > most:
            return "utf-16-le"
        if even > most:
            return "utf-16-be"
    return "utf-8-sig"


def _is_legacy_text(raw: bytes) -> bool:
    """Return whether bytes are text in Windows-1252, and not the content of a binary file."""
    if any(byte < 32 and byte not in b"\t\n\r\f\x1a" for byte in set(raw)):
        return False
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return True


def _refuse_other_files(path: Path, raw: bytes) -> None:
    """Raise an error if the content is that of another kind of file."""
    what = next((what for start, what in _BINARY if raw.startswith(start)), "")
    if what:
        raise TableError(f"{path}: it is {what} and not text; save it as text with tabs")
    pointer = raw[:512].lstrip()
    if pointer.startswith(_LFS_POINTER) or (
        len(raw) < 512 and b"annex/objects/" in pointer and b"\t" not in pointer
    ):
        raise TableError(
            f"{path}: its content was never fetched (it holds a pointer of git-lfs or git-annex); "
            "run `git lfs pull` or `datalad get` on it"
        )


def _read_bytes(path: Path) -> bytes:
    """Read a file of plausible size."""
    try:
        about = path.stat()
        if not S_ISREG(about.st_mode):
            raise TableError(
                f"{path}: it is not a file but a folder, pipe or device; write it again"
            )
        if about.st_size > _MAX_BYTES:
            raise TableError(
                f"{path}: it has {about.st_size / 2**20:.0f} MB, more than the limit of "
                f"{_MAX_BYTES // 2**20} MB for tables; check whether it is the correct file"
            )
        raw = path.read_bytes()
    except FileNotFoundError:
        what = (
            "its content was never fetched (broken link); run `datalad get` on it"
            if path.is_symlink()
            else "there is no such file"
        )
        raise TableError(f"{path}: {what}") from None
    except OSError as error:
        raise TableError(f"{path}: it cannot be read ({error.strerror})") from error
    if not raw.strip():
        raise TableError(f"{path}: it is empty; write or fetch it again")
    return raw
