"""Keep secrets out of log lines: by the values that the environment holds, and by the shapes in which secrets are written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"
_WORDS = r"secret|token|password|passwd|credential|access_key|api_key|signature|session_key|private_key"
_SECRET_NAME = re.compile(_WORDS, re.IGNORECASE)
_SHORTEST = 8
"""Values of fewer letters are no secrets, and hiding them would hide half of every line."""

# key=value, "key": "value", key: 'value', as records, tables, headers and queries of URLs have them
_ASSIGNED = re.compile(
    rf"""(?P<key>["']?[\w.-]*(?:{_WORDS}|x-amz-signature|x-amz-credential)[\w.-]*["']?\s*[=:]\s*)"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s,;&)}\]"']+)""",
    re.IGNORECASE,
)
_USER = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^\s/@]+@", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"(?P<kind>\b(?:Bearer|Basic|AWS4-HMAC-SHA256)\s+)[^\s'\"]+", re.IGNORECASE)


def redacted(text: str) -> str:
    """The text without secrets: values of secret environment variables, ``key=value`` of a secret key, users in URLs."""
    for value in secret_values():
        text = text.replace(value, HIDDEN)
    text = _USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _AUTHORIZATION.sub(rf"\g<kind>{HIDDEN}", text)
    return _ASSIGNED.sub(rf"\g<key>{HIDDEN}", text)


def secret_values() -> list[str]:
    """Values of environment variables whose names say that they are secret, longest first."""
    found = {value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= _SHORTEST}
    # A path is no secret, and may be in the name of every file: AWS_WEB_IDENTITY_TOKEN_FILE.
    return sorted((value for value in found if not value.startswith("/")), key=len, reverse=True)


def clean(value: Any, name: str = "") -> Any:
    """A value for JSON without secrets: what stands under a secret key is hidden whole; what is no plain value is its text."""
    if name and _SECRET_NAME.search(name):
        return HIDDEN if value not in (None, "", False) else value
    if isinstance(value, Mapping):
        return {str(key): clean(part, str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [clean(part) for part in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redacted(str(value))
