"""Pruned artefacts as models of timm's registry.

After `import infoprune.integrations.timm`, timm's own names reach what `infoprune.save` wrote:

    timm.create_model("local-dir:runs/r50", pretrained=True)
    timm.create_model("hf-hub:you/r50-half", pretrained=True)
    timm.create_model("infoprune", pretrained=True, directory="runs/r50")

and `python -m infoprune.integrations.timm train.py ...` runs a script of timm's as it stands with these names known.
"""

from infoprune.integrations.timm.registry import infoprune as infoprune
