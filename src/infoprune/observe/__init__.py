"""One streaming pass over calibration data, and the evidence that it leaves behind."""

from infoprune.estimators.hsic import nhsic_of as nhsic_of
from infoprune.observe.batches import arguments_of as arguments_of
from infoprune.observe.grams import by_sample as by_sample
from infoprune.observe.grams import gram_of as gram_of
from infoprune.observe.grams import similarity as similarity
from infoprune.observe.observations import Observations as Observations
from infoprune.observe.undisturbed import kept_randomness as kept_randomness
from infoprune.observe.undisturbed import present as present
from infoprune.observe.watching import observe as observe
