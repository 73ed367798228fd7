"""Every error a caller may catch. Each says what was found, what was needed and what to do."""


class InfopruneError(Exception):
    """The parent of all errors raised on purpose by infoprune."""


class UnknownName(InfopruneError, LookupError):
    """A name that nothing is registered or found under; the message lists the known ones."""


class Untraceable(InfopruneError):
    """The model cannot be followed with these example inputs, or holds nothing that can be pruned."""


class BadWeights(InfopruneError, ValueError):
    """A parameter holds NaN or infinite values."""


class Infeasible(InfopruneError, ValueError):
    """A budget that no allowed choice of counts can meet; the message names the cheapest reachable price."""


class StalePlan(InfopruneError, ValueError):
    """A plan that was made for other shapes or names than the model at hand has."""


class StaleObservations(InfopruneError, ValueError):
    """Evidence that was collected on a model which has changed since."""


class CertificateFailed(InfopruneError):
    """The pruned network does not compute what the masked original computes; nothing was changed."""


class NotCompared(UserWarning):
    """Surgery that nothing was compared with: its outputs are zero, not finite, or nobody knows what they should be."""


class BadArtifact(InfopruneError, ValueError):
    """A saved model or plan that is malformed, truncated, from another version or not what it claims to be."""


class NotPlain(InfopruneError, ValueError):
    """A pruned network that its own library's builder has no words for; the message says which layer it is."""


class BadCheckpoint(BadArtifact):
    """A file of weights that is missing, not plain data, or another model's; the message names what differs."""


class MissingExtra(InfopruneError, ImportError):
    """An optional package is absent; the message names the extra to install."""


class UnusableData(InfopruneError, ValueError):
    """Calibration data, or a device for it, from which the wanted evidence cannot be had."""


class Saturated(InfopruneError, ValueError):
    """Scores that are the same for most units, so that ranking them would rank indices."""


class NameTaken(InfopruneError, ValueError):
    """`tp.importance` already holds something else under a name of ours."""


class ExportFailed(InfopruneError):
    """A model that an exporter can't translate, or whose translation computes something else; nothing was written."""


class BadFeatures(InfopruneError, ValueError):
    """Features that a codec can't carry: NaN, infinite or empty ones."""


class BadStream(InfopruneError, ValueError):
    """Bytes that are not a features stream: cut, damaged, made up or from another version."""


class MissingData(InfopruneError, FileNotFoundError):
    """A data set that is not where it was looked for; the message says which layout is needed and where to get it."""


class BadRecipe(InfopruneError, ValueError):
    """A recipe that is not YAML of the known keys and types; the message names the key's path."""


class BadOwnCode(InfopruneError, ValueError):
    """A Python file of the user's own that is missing, fails, lacks the name or makes something else than was meant."""


class Interrupted(InfopruneError):
    """A run that was told to stop, or ran out of its time; the message says how to go on."""


class NotACut(InfopruneError, ValueError):
    """A layer whose output alone does not carry the rest of a model; the message says what else is needed."""


def first_line(error: BaseException) -> str:
    """What an error of somebody else says first; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
