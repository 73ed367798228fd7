"""From a recipe to a report with one call."""

from infoprune.recipe.display import Display as Display
from infoprune.recipe.display import OnStderr as OnStderr
from infoprune.recipe.family import run_family as run_family
from infoprune.recipe.networks import build_network as build_network
from infoprune.recipe.reading import read_recipe as read_recipe
from infoprune.recipe.reading import recipe_of as recipe_of
from infoprune.recipe.reading import to_yaml as to_yaml
from infoprune.recipe.running import run as run
from infoprune.recipe.sections import Recipe as Recipe
