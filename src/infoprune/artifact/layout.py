"""What an artefact's directory holds, and the digest that binds its config."""

from __future__ import annotations

import hashlib
import json
from typing import Any

CONFIG, WEIGHTS = "config.json", "model.safetensors"
SCHEMA, FAMILY = 1, 2  # of one network, and of several that share their weights


def content_digest(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
