"""What a user can do wrong. The message of each names the file or value and the way out."""


class ClipnError(Exception):
    """Base of all errors that are the input's fault; commands print the message without a traceback."""


class InvalidParams(ClipnError):
    """`params.yaml` or a profile holds an unknown key, a wrong type or a value out of range."""


class MissingInput(ClipnError):
    """A file or folder that the configuration names does not exist or cannot be read."""


class InvalidData(ClipnError):
    """A file was read but its content is not what it has to be."""


class BackboneMismatch(ClipnError):
    """Features, checkpoints or models made by different backbones were brought together."""


class UnsupportedModel(ClipnError):
    """The open_clip model's text tower is not of the kind that CLIPN needs."""


class OutOfMemory(ClipnError):
    """The device has too little memory for the work as it is set up."""


class DownloadFailed(ClipnError):
    """Too few images could be fetched, or the network source did not answer."""


class NonFinite(ClipnError):
    """A NaN or an infinity appeared in a loss, a feature or a score."""


class WorkerLost(ClipnError):
    """A process that works for this one ended by itself, most often because memory ran out."""


class OtherRun(ClipnError):
    """A checkpoint was made with other parameters, inputs or another seed."""


class Interrupted(ClipnError):
    """The user asked to stop; what was done is kept."""
