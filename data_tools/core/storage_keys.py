"""Address and credentials of object storage: from the usual variables, or `~/.aws/credentials`.

Files are read in `data_tools/core/object_storage.py`.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Any

from data_tools.core.errors import StorageError

ROLES = (
    *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
    *("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_METADATA_ENDPOINT"),
)
"""Variables that say where a machine or container gets its credentials."""


def storage_config(scheme: str, bucket: str) -> dict[str, Any]:
    """Return what the S3 interface of a bucket needs to be told.

    Args:
        scheme: `s3` or `obs`.
        bucket: Its name.

    Raises:
        StorageError: If there are no credentials, or `obs` has no address.
    """
    get = os.environ.get
    endpoint = get("AWS_ENDPOINT_URL_S3") or get("AWS_ENDPOINT_URL", "")
    region = get("AWS_REGION") or get("AWS_DEFAULT_REGION") or "us-east-1"
    config: dict[str, Any] = {"region": region}
    if scheme == "obs" and not endpoint:
        raise StorageError(
            f"obs://{bucket}: say where it is, as "
            "dataset.endpoint=https://obs.cn-north-4.myhuaweicloud.com or AWS_ENDPOINT_URL."
        )
    if endpoint:
        config["endpoint"] = endpoint
        # OBS itself wants the bucket in the host's name; servers of one's own do not.
        if ".myhuaweicloud." in endpoint:
            protocol, _, host = endpoint.rstrip("/").rpartition("//")
            config["endpoint"] = f"{protocol or 'https:'}//{bucket}.{host}"
            config["virtual_hosted_style_request"] = True
    if get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true"):
        return {**config, "skip_signature": True}
    keys = _keys(scheme)
    if not keys and not any(get(name) for name in ROLES):
        raise StorageError(
            f"{scheme}://{bucket}: no credentials. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials; for a public bucket "
            "AWS_SKIP_SIGNATURE=true."
        )
    return {**config, **keys}


def _keys(scheme: str) -> dict[str, str]:
    get, keys = os.environ.get, dict[str, str]()
    for prefix in ("OBS", "AWS") if scheme == "obs" else ("AWS",):
        keys = {
            "access_key_id": get(f"{prefix}_ACCESS_KEY_ID", ""),
            "secret_access_key": get(f"{prefix}_SECRET_ACCESS_KEY", ""),
            "session_token": get(f"{prefix}_SESSION_TOKEN") or get(f"{prefix}_SECURITY_TOKEN", ""),
        }
        if keys["access_key_id"] and keys["secret_access_key"]:
            return {key: value for key, value in keys.items() if value}
    path = Path(get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
        section = dict(parser[get("AWS_PROFILE", "default")])
    except (KeyError, configparser.Error, OSError, UnicodeDecodeError):
        return {}
    keys = {key: section.get(f"aws_{key}", "") for key in keys}
    good = keys["access_key_id"] and keys["secret_access_key"]
    return {key: value for key, value in keys.items() if value} if good else {}
