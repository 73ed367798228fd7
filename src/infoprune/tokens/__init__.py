"""Vision transformers that drop the tokens which say least, image by image."""

from infoprune.surgery.token_scores import Arriving as Arriving
from infoprune.surgery.token_scores import token_scores as scores  # noqa: F401
from infoprune.surgery.tokens import KeepTokens as KeepTokens
from infoprune.tokens.joint import TokenPath as TokenPath
from infoprune.tokens.schedule import plan as plan
from infoprune.tokens.schedule import sparsify_ as sparsify_
