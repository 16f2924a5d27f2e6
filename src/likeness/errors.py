"""The one family of errors a user can cause.

Every message is one sentence for a person: what was wrong with *their* value, what was expected, what to do.
The command line prints the message alone; in Python they are ordinary exceptions.
"""


class LikenessError(Exception):
    """Base of everything that Likeness raises on purpose."""


class ImageError(LikenessError):
    """A photo or video could not be read as one."""


class NoFaceError(LikenessError):
    """A readable photo in which no face was found."""


class AssetError(LikenessError):
    """A model file is missing, is not what its name says, or fails its check."""


class FileFormatError(LikenessError):
    """A mesh, map, motion or Face file is malformed or of an unknown version."""


class OutputError(LikenessError):
    """A result could not be written: folder not writable, disk full."""


class InputError(LikenessError):
    """An argument has the wrong shape, type or range."""
